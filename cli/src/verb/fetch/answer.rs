//! What a server says about the file it sends.

use super::part::Expected;
use super::record::Origin;
use ureq::Body;
use ureq::http::{Response, StatusCode};

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Which content it is of.
    pub origin: Origin,
    /// The first byte that it sends.
    start: Option<u64>,
    /// Whether a cut would show though the size is not said.
    chunked: bool,
    /// Why this is not the file.
    wrong: Option<&'static str>,
}

impl Answer {
    /// Reads the head of an answer for `url`.
    pub fn of(response: &Response<Body>, url: &str) -> Self {
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(|text| text.trim().to_string())
        };
        let range = header("content-range");
        let range = range.as_deref().and_then(|r| r.strip_prefix("bytes "));
        let (span, all) = range.and_then(|r| r.split_once('/')).unzip();
        let start: Option<u64> = span.and_then(|s| s.split_once('-')?.0.trim().parse().ok());
        let length: Option<u64> = header("content-length").and_then(|n| n.parse().ok());
        let size = match response.status() {
            StatusCode::OK => length,
            _ => {
                let said = all.and_then(|n| n.trim().parse().ok());
                said.or_else(|| start?.checked_add(length?))
            }
        };
        let kind = header("content-type").unwrap_or_default();
        let encoding = header("content-encoding").unwrap_or_default();
        let wrong = if kind.to_ascii_lowercase().starts_with("text/html") {
            Some("sends a web page and not the file; it may want you to log in")
        } else if !matches!(encoding.as_str(), "" | "identity") {
            Some("sends the file in an encoding that was not asked for")
        } else {
            None
        };
        Self {
            origin: Origin {
                url: url.to_string(),
                size,
                etag: header("etag"),
                last_modified: header("last-modified"),
            },
            start,
            chunked: header("transfer-encoding").is_some(),
            wrong,
        }
    }

    /// Why this cannot be the file that is wanted.
    pub fn check(&self, expected: &Expected) -> Result<(), String> {
        let wanted = expected.size;
        let blind = !self.chunked && wanted.is_none() && expected.sha256.is_none();
        match (self.wrong, self.origin.size) {
            (Some(wrong), _) => Err(wrong.into()),
            (None, None) if blind => {
                Err("does not say how large the file is, so that a cut would not show".into())
            }
            (None, Some(size)) if wanted.is_some_and(|wanted| wanted != size) => Err(format!(
                "has another file: it has {size} bytes, and {} by {}",
                wanted.unwrap_or_default(),
                expected.source
            )),
            _ => Ok(()),
        }
    }

    /// Whether it goes on after `have` bytes of `origin`, in the same content as far as can be told. `same` says that
    /// both are of one address, whose names for contents can be compared.
    pub fn continues(&self, have: u64, origin: &Origin, same: bool) -> bool {
        let differs = |a: &Option<String>, b: &Option<String>| {
            same && a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a != b)
        };
        self.start == Some(have)
            && origin
                .size
                .is_none_or(|size| self.origin.size == Some(size))
            && !differs(&origin.etag, &self.origin.etag)
            && !differs(&origin.last_modified, &self.origin.last_modified)
    }
}
