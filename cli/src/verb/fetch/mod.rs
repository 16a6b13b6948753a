//! `fewstep fetch`: pre-trained weights, from where their makers publish them.

mod address;
mod answer;
mod manifest;
mod part;
mod record;
mod transfer;

use crate::context::Context;
use crate::output::Outputs;
use crate::screen::command_line::again;
use crate::screen::progress::{Reporter, bytes};
use crate::screen::say::{say, tell};
use crate::screen::signal;
use crate::typed::whole;
use anyhow::bail;
use clap::Args;
use clap::builder::FalseyValueParser;
use fewstep::Error;
use manifest::{BUILT_IN, Entry, Manifest};
use part::{Expected, Partial, Place, measure};
use record::Record;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use transfer::{Client, Failure};

const EXAMPLES: &str = "\
Examples:
  fewstep fetch --list
  fewstep fetch edm-cifar10
  fewstep distill cifar10-nfe2 --teacher weights/edm-cifar10-32x32-uncond-vp.pkl --dry-run
  fewstep fetch edm-cifar10 edm-ffhq --out /data/weights
  fewstep fetch sd15 clip-vocabulary
  fewstep fetch edm-cifar10 --offline
  fewstep fetch --print-manifest > mirrors.toml
  fewstep fetch edm-cifar10 --manifest mirrors.toml

What has come is kept in FILE.part when a download breaks off, and the same command goes on from there. FILE.fetch.toml
beside a file holds its size and SHA-256: where the manifest says nothing, those of the first download, and every later one
is held to them. HTTPS_PROXY is used; SSL_CERT_FILE names certificates to trust instead of the built-in ones.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// What to get: names of --list
    #[arg(value_name = "NAME", required_unless_present_any = ["list", "print_manifest"])]
    names: Vec<String>,
    /// Folder for the files
    #[arg(long, value_name = "DIR", default_value = "weights")]
    out: PathBuf,
    /// Show what can be fetched, from where, and what is there already
    #[arg(long, conflicts_with = "names")]
    list: bool,
    /// Mirrors and weights of your own: entries there come before the built-in ones of the same names
    #[arg(long, value_name = "FILE", env = "FEWSTEP_MANIFEST")]
    manifest: Option<PathBuf>,
    /// Print the built-in manifest, as --manifest reads it
    #[arg(long, conflicts_with_all = ["names", "list"])]
    print_manifest: bool,
    /// Ask no server: check what is there, and fail if it is not
    #[arg(long, env = "FEWSTEP_OFFLINE", value_parser = FalseyValueParser::new())]
    offline: bool,
    /// Throw away what is there, and what was recorded of it
    #[arg(long, conflicts_with = "offline")]
    overwrite: bool,
    /// Seconds without a sign after which a server is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = whole::<u64>(1..=3600))]
    timeout: u64,
    /// How often to ask again after a cut, before the next mirror
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole::<u32>(0..=1000))]
    retries: u32,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    if verb.print_manifest {
        say!("{}", BUILT_IN.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let manifest = Manifest::read(verb.manifest.as_deref())?;
    if verb.list {
        let texts: Vec<_> = manifest.entries().map(|e| describe(e, &verb.out)).collect();
        say!("{}", texts.join("\n").trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let wanted: Result<Vec<_>, _> = verb.names.iter().map(|n| manifest.find(n)).collect();
    let wanted = wanted?;
    let mut outputs = Outputs::default();
    if !verb.offline {
        outputs.folder(&verb.out)?;
        catch_interrupts()?;
    }
    for entry in wanted {
        let file = fetch(entry, verb, context.reporter)?;
        say!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// A signal ends the program at once: at every moment the part on the disk can be continued.
fn catch_interrupts() -> anyhow::Result<()> {
    signal::catch_with(|status| {
        let command = again();
        tell!("\ninterrupted; what has come is kept; go on with:\n  {command}");
        std::process::exit(status.into());
    })
}

/// Some lines about an entry.
fn describe(entry: &Entry, folder: &Path) -> String {
    let place = Place::new(folder, entry);
    let file = place.file.display();
    let state = match (place.file.exists(), place.arrived()) {
        (true, _) => format!("{file} is there"),
        (false, 0) => format!("{file} is not there"),
        (false, some) => format!("{} of {file} are there", bytes(some)),
    };
    let size = entry.size.map(|size| format!("{size} bytes"));
    let hash = entry.sha256.as_ref().map(|hash| format!("sha256 {hash}"));
    let licence = (!entry.licence.is_empty()).then(|| format!("licence: {}", entry.licence));
    let lines = [Some(entry.about.clone()), licence, size, hash];
    let lines = lines.into_iter().flatten();
    let lines = lines.chain(entry.urls.iter().cloned()).chain([state]);
    let mut text = String::new();
    for (i, line) in lines.filter(|line| !line.is_empty()).enumerate() {
        let name = if i == 0 { entry.name.as_str() } else { "" };
        text.push_str(&format!("{name:<18}{line}\n"));
    }
    text
}

/// Gets a file, or checks it if it is there. Returns where it is.
fn fetch(entry: &Entry, verb: &Verb, reporter: Reporter) -> anyhow::Result<PathBuf> {
    let place = Place::new(&verb.out, entry);
    if verb.overwrite {
        place.clear()?;
    }
    let record = place.record()?;
    let expected = Expected::new(entry, record.as_ref());
    let name = &entry.name;
    let file = place.file.display();
    if place.file.exists() {
        check(entry, &place, record.as_ref(), &expected, reporter)?;
        return Ok(place.file);
    }
    if verb.offline {
        bail!(
            "{name}: {file} is not there, and --offline forbids to get it from {}",
            entry.urls.join(" or ")
        );
    }
    if !entry.licence.is_empty() {
        reporter.say(format!("{name}: licence: {}", entry.licence));
    }
    let client = Client::new(Duration::from_secs(verb.timeout), verb.retries, reporter)?;
    let mut part = Partial::open(&place)?;
    let mut failures = Vec::new();
    for url in &entry.urls {
        reporter.say(format!("{name}: {url}"));
        let reason = match client.complete(url, &mut part, &expected) {
            Ok(()) => match part.finish(&expected)? {
                Ok(record) => {
                    reporter.say(arrived(&record, &expected));
                    return Ok(place.file);
                }
                Err(reason) => {
                    part = Partial::open(&place)?;
                    format!("sent another file: {reason}")
                }
            },
            Err(Failure::Local(error)) => return Err(error),
            Err(Failure::Passing(reason) | Failure::Lasting(reason)) => reason,
        };
        failures.push(format!("{url} {reason}"));
    }
    let kept = match part.len() {
        0 => String::new(),
        len => format!(
            "; {} are kept in {}, and the same command goes on from there",
            bytes(len),
            place.part.display()
        ),
    };
    part.close()?;
    bail!(
        "cannot fetch {name}: {}{kept}; with other means, put the file at {file}",
        failures.join("; ")
    )
}

/// What is said of a file that has come.
fn arrived(record: &Record, expected: &Expected) -> String {
    let Record { size, sha256, .. } = record;
    let verdict = match &expected.sha256 {
        Some(_) => "as it should be",
        None => "recorded, to hold every later download to it",
    };
    format!("{}, SHA-256 {sha256}: {verdict}", bytes(*size))
}

/// Looks whether a file that is there is what it should be.
fn check(
    entry: &Entry,
    place: &Place,
    record: Option<&Record>,
    expected: &Expected,
    reporter: Reporter,
) -> anyhow::Result<()> {
    let file = place.file.display();
    let found = measure(&place.file)?;
    if let Some(reason) = expected.differs(&found) {
        bail!(
            "{file} is not what it should be: {reason}; add --overwrite to get it again from {}",
            entry.urls.join(" or ")
        );
    }
    reporter.say(match &expected.sha256 {
        Some(_) => format!("{file} is there and as it should be"),
        None => format!(
            "{file} is there; its hash is now recorded: {}",
            found.sha256
        ),
    });
    let same = |record: &Record| record.size == found.size && record.sha256 == found.sha256;
    if !record.is_some_and(same) {
        place.write_record(&found)?;
    }
    Ok(())
}

/// How to get a file that was asked for and is not there, if it is one that can be fetched.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    let Some(Error::File { path, source, .. }) = error.downcast_ref::<Error>() else {
        return None;
    };
    let typed = path.file_name()?.to_str()?;
    let manifest = Manifest::read(None).ok()?;
    let mut entries = manifest.entries();
    let entry = entries.find(|entry| entry.name == typed || entry.file == typed)?;
    let Entry { name, file, .. } = entry;
    (source.kind() == ErrorKind::NotFound)
        .then(|| format!("`fewstep fetch {name}` gets it, as weights/{file}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::failure::wrong;

    #[test]
    fn a_missing_teacher_is_known_by_its_name() {
        let missing = |path: &str| {
            let cause = std::io::Error::from(ErrorKind::NotFound);
            hint(&Error::file("read", path)(cause).into())
        };
        let expected =
            "`fewstep fetch edm-cifar10` gets it, as weights/edm-cifar10-32x32-uncond-vp.pkl";
        for path in ["edm-cifar10", "x/edm-cifar10-32x32-uncond-vp.pkl"] {
            assert_eq!(missing(path).as_deref(), Some(expected));
        }
        assert_eq!(missing("teacher.safetensors"), None);
        assert_eq!(hint(&wrong("edm-cifar10")), None);
        let other = Error::file("read", "edm-cifar10")(std::io::Error::other("x"));
        assert_eq!(hint(&other.into()), None);
    }
}
