//! Addresses of files, and where a redirect leads.

use ureq::http::Uri;

/// An address on the web.
pub fn parse(text: &str) -> Result<Uri, String> {
    let uri: Uri = text
        .parse()
        .map_err(|e| format!("{text:?} is not an address: {e}"))?;
    let host = uri.host().is_some_and(|host| !host.is_empty());
    match uri.scheme_str() {
        Some("http" | "https") if host => Ok(uri),
        _ => Err(format!(
            "{text:?} is not an address that starts with https:// or http://"
        )),
    }
}

/// Whether what comes from there is encrypted.
pub fn is_encrypted(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// Where a redirect from `from` leads. One that leaves encryption is refused: whoever is on the way could then
/// choose the file.
pub fn redirect(from: &Uri, location: &str) -> Result<Uri, String> {
    let scheme = from.scheme_str().unwrap_or_default();
    let host = from.authority().map_or("", |a| a.as_str());
    let letter = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let absolute = location
        .split_once(':')
        .is_some_and(|(scheme, _)| scheme.chars().all(letter));
    let folder = from
        .path()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    let next = match location {
        _ if absolute => location.to_string(),
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{scheme}://{host}{location}"),
        _ if location.starts_with('?') => format!("{scheme}://{host}{}{location}", from.path()),
        _ => format!("{scheme}://{host}{folder}/{location}"),
    };
    let next = parse(&next).map_err(|reason| format!("redirects to nowhere: {reason}"))?;
    if is_encrypted(from) && !is_encrypted(&next) {
        return Err(format!(
            "redirects to {next}, which is not encrypted; that is not followed"
        ));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_relative_to_where_they_come_from() {
        let from = parse("https://a.b:8/c/d?e=f").unwrap();
        for (location, expected) in [
            ("https://x.y/z", "https://x.y/z"),
            ("//x.y/z", "https://x.y/z"),
            ("/z", "https://a.b:8/z"),
            ("z", "https://a.b:8/c/z"),
            ("?g", "https://a.b:8/c/d?g"),
        ] {
            assert_eq!(redirect(&from, location).unwrap().to_string(), expected);
        }
        let root = parse("http://a").unwrap();
        assert_eq!(redirect(&root, "z").unwrap().to_string(), "http://a/z");
    }

    #[test]
    fn encryption_is_never_left() {
        let encrypted = parse("https://a/b").unwrap();
        let plain = parse("http://a/b").unwrap();
        assert!(redirect(&plain, "https://a/c").is_ok());
        assert!(redirect(&plain, "http://c/d").is_ok());
        for location in ["http://a/b", "HTTP://a/b"] {
            let refused = redirect(&encrypted, location).unwrap_err();
            assert!(refused.contains("not encrypted"), "{refused}");
        }
        for location in ["file:///etc/passwd", "ftp://a/b", "https://"] {
            assert!(redirect(&encrypted, location).is_err(), "{location}");
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for text in [
            "",
            "a",
            "/a",
            "ftp://a/b",
            "https://",
            "http:///b",
            "https://a b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
