//! Files that people have and that hold no weights to be read here: what they are, and what can be done.

use super::source::LazyFile;
use crate::Error;

/// Bytes that tell.
const START: u64 = 64;

/// What a file is by its first bytes or its name's end, if that is no kind of file with weights that we read.
pub(crate) fn content(source: &LazyFile) -> Result<Option<&'static str>, Error> {
    let mut start = [0; START as usize];
    let len = source.len().min(START) as usize;
    source.read_at(0, &mut start[..len])?;
    let start = &start[..len];
    // A header's length may look like anything.
    if len > 8 && start[4..8] == [0; 4] && start[8] == b'{' {
        return Ok(None);
    }
    let text = start.trim_ascii_start().to_ascii_lowercase();
    let begins = |with: &[u8]| text.starts_with(with);
    let end = source.path().extension().and_then(|end| end.to_str());
    Ok(Some(if len == 0 {
        "it is empty; was its download cut off?"
    } else if begins(b"version https://git-lfs") {
        "it is a pointer of Git LFS, which stands for the file; get the file itself: `git lfs install` and `git lfs pull` in \
         the folder that was cloned"
    } else if [&b"<!doctype"[..], b"<html", b"<?xml", b"<head"]
        .iter()
        .any(|tag| begins(tag))
    {
        "it is a page of the web, such as the error page or the login that a server sends in place of a file; download it again"
    } else if start.starts_with(b"GGUF") || end == Some("gguf") {
        "it is GGUF, the quantised weights of another program; give the safetensors or PyTorch file that it was made from"
    } else if start.starts_with(b"\x89HDF") || end == Some("h5") {
        "it is HDF5 of TensorFlow; give the PyTorch or safetensors file of the model"
    } else if end == Some("msgpack") {
        "it is a file of Flax; give the PyTorch or safetensors file of the model"
    } else if end == Some("onnx") {
        "it is ONNX, a program with its weights; give the PyTorch or safetensors file that it was made from"
    } else if start.starts_with(b"\x1f\x8b")
        || start.starts_with(b"7z\xbc\xaf")
        || start.starts_with(b"Rar!")
    {
        "it is a compressed archive; unpack it and give the file inside"
    } else if begins(b"{\"")
        || begins(b"{\n")
        || begins(b"{ ")
        || begins(b"{\r")
        || end == Some("json")
    {
        "it is a text in JSON, not weights; give the file with weights, or the folder that both are in"
    } else {
        return Ok(None);
    }))
}
