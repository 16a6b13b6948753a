//! The tokenizer, with a vocabulary that lies beside the case or that a variable of the environment names.

use crate::file::hash_bytes;
use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem};
use crate::golden::part::text_encoder::rows;
use crate::text::{Tokenizer, Vocabulary};
use burn::tensor::Device;
use std::path::PathBuf;

/// The variable that names the vocabulary, and the file that is looked for beside the case.
const VARIABLE: &str = "FEWSTEP_CLIP_VOCABULARY";
const FILE: &str = "bpe_simple_vocab_16e6.txt.gz";

/// A row for the texts on which all of the reference's tokenizers agree, one for the others, and one for the tokenizer
/// whose cleaning is ours. An error is a number of texts.
pub(crate) fn run(case: &Case, _: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let path = vocabulary(case)?;
    let vocabulary = Vocabulary::read(&path)?;
    let merges = vocabulary.merges.iter().map(|(a, b)| format!("{a} {b}"));
    let merges: Vec<String> = merges.collect();
    if hash_bytes(merges.join("\n").as_bytes()) != case.text(config, "merges_sha256")? {
        return Err(case.malformed(format!("{} is not its vocabulary", path.display())));
    }
    let tokenizer = Tokenizer::read(&path)?.with_length(case.count(config, "context_length")?)?;
    let variant = |name: &str| rows(case, case.text(&config["ids"], name)?);
    let [ftfy, basic, fast] = ["ftfy", "basic", "fast"].map(variant);
    let (ftfy, basic, fast) = (ftfy?, basic?, fast?);
    let entries = case.list(config, "entries")?;
    if [&ftfy, &basic, &fast]
        .iter()
        .any(|ids| ids.len() != entries.len())
    {
        return Err(case.malformed("there is not a row of ids for each of `entries`"));
    }
    let (mut agreed, mut others, mut ours) = (0, 0, 0);
    for (i, entry) in entries.iter().enumerate() {
        let got = tokenizer.encode(case.text(entry, "text")?).ids;
        let any = [&ftfy, &basic, &fast].iter().any(|ids| ids[i] == got);
        if case.flag(entry, "all_agree")? {
            agreed += usize::from(got != ftfy[i]);
        } else {
            others += usize::from(!any);
        }
        ours += usize::from(got != fast[i]);
    }
    for (row, wrong) in [("agreed", agreed), ("one of three", others), ("fast", ours)] {
        report(row, Ok(Measure::new(wrong as f64, 0.0)));
    }
    Ok(())
}

fn vocabulary(case: &Case) -> Result<PathBuf, Problem> {
    let beside = case.beside(FILE)?;
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    match named {
        Some(path) => Ok(path),
        None if beside.is_file() => Ok(beside),
        None => Err(Problem::unsupported(format!(
            "the vocabulary is not here: put {FILE} of the PyPI package open_clip_torch beside the case, or its path into \
             {VARIABLE}"
        ))),
    }
}
