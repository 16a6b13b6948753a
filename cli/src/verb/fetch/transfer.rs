//! Bytes from a server into a part.

use super::address;
use super::answer::Answer;
use super::part::{Expected, Partial};
use super::record::Origin;
use crate::screen::failure::wrong;
use crate::screen::progress::{Progress, Reporter, bytes};
use anyhow::Context as _;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::time::Duration;
use ureq::http::{Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// Redirects that are followed.
const HOPS: usize = 10;

/// Why a file did not come.
pub enum Failure {
    /// It may come at the next try: a connection that was cut, a busy server.
    Passing(String),
    /// It will not come from there.
    Lasting(String),
    /// It cannot be written here.
    Local(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

/// A client of servers.
pub struct Client {
    agent: Agent,
    retries: u32,
    reporter: Reporter,
}

impl Client {
    /// One that gives a server up after `timeout` without a sign, and asks again `retries` times.
    pub fn new(timeout: Duration, retries: u32, reporter: Reporter) -> anyhow::Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(timeout))
            .timeout_connect(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_per_read(Some(timeout))
            .accept_encoding("identity")
            .user_agent(concat!("fewstep/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls()?);
        Ok(Self {
            agent: config.build().new_agent(),
            retries,
            reporter,
        })
    }

    /// Brings what is missing of a part, in as many attempts as it takes while each brings something.
    pub fn complete(
        &self,
        url: &str,
        part: &mut Partial,
        expected: &Expected,
    ) -> Result<(), Failure> {
        let mut tries = 0;
        let mut furthest = part.len();
        loop {
            let reason = match self.attempt(url, part, expected) {
                Err(Failure::Passing(reason)) => reason,
                other => return other,
            };
            if part.len() > furthest {
                furthest = part.len();
                tries = 0;
            }
            if tries == self.retries {
                return Err(Failure::Lasting(reason));
            }
            tries += 1;
            self.reporter.say(format!(
                "{reason}; trying again ({tries} of {})",
                self.retries
            ));
            std::thread::sleep(Duration::from_secs(1 << (tries - 1).min(5)));
        }
    }

    /// One request, and one more if the server shows that the part is of no use.
    fn attempt(&self, url: &str, part: &mut Partial, expected: &Expected) -> Result<(), Failure> {
        let have = part.len();
        let same = part.origin().url == url;
        let known = expected.sha256.is_some();
        if have > 0 && part.origin().size == Some(have) && (same || known) {
            return Ok(());
        }
        // A part may only be continued if a change of the file shows: by what the server compares, or by the hash.
        let validator = part.origin().validator().filter(|_| same);
        let resume = have > 0 && (validator.is_some() || known);
        let range = resume.then(|| (format!("bytes={have}-"), validator));
        let response = self.get(url, range)?;
        let answer = Answer::of(&response, url);
        match response.status() {
            StatusCode::OK => {
                answer.check(expected).map_err(Failure::Lasting)?;
                if have > 0 {
                    let changed = same && answer.origin.validator() != part.origin().validator();
                    let why = match (resume, changed) {
                        (false, _) => "nothing would tell whether it has changed",
                        (true, true) => "it has changed",
                        (true, false) => "the server knows no ranges",
                    };
                    let gone = bytes(have);
                    self.reporter.say(format!(
                        "the file comes from its beginning, {gone} once more: {why}"
                    ));
                }
                part.restart(answer.origin.clone())?;
            }
            StatusCode::PARTIAL_CONTENT if resume => {
                if !answer.continues(have, part.origin(), same) {
                    return self.anew(url, part, expected);
                }
                answer.check(expected).map_err(Failure::Lasting)?;
                self.reporter.say(format!("going on after {}", bytes(have)));
            }
            StatusCode::RANGE_NOT_SATISFIABLE if resume => return self.anew(url, part, expected),
            status => return Err(refused(status)),
        }
        self.copy(response, part, answer.origin.size)
    }

    /// Without the part, which is of another content.
    fn anew(&self, url: &str, part: &mut Partial, expected: &Expected) -> Result<(), Failure> {
        let gone = bytes(part.len());
        self.reporter.say(format!(
            "the file has changed; {gone} of the old one are thrown away"
        ));
        part.restart(Origin::default())?;
        self.attempt(url, part, expected)
    }

    /// Follows redirects, with the range to each.
    fn get(
        &self,
        url: &str,
        range: Option<(String, Option<&str>)>,
    ) -> Result<Response<Body>, Failure> {
        let mut at = address::parse(url).map_err(Failure::Lasting)?;
        for _ in 0..=HOPS {
            let mut request = self.agent.get(&at);
            if let Some((range, validator)) = &range {
                request = request.header("range", range);
                if let Some(validator) = validator {
                    request = request.header("if-range", *validator);
                }
            }
            let response = request.call().map_err(failure)?;
            let location = response.headers().get("location");
            let location = location.and_then(|l| l.to_str().ok());
            match (response.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    at = address::redirect(&at, location).map_err(Failure::Lasting)?;
                }
                _ => return Ok(response),
            }
        }
        Err(Failure::Lasting(format!(
            "redirects more than {HOPS} times"
        )))
    }

    fn copy(
        &self,
        response: Response<Body>,
        part: &mut Partial,
        size: Option<u64>,
    ) -> Result<(), Failure> {
        let mut progress: Progress =
            self.reporter
                .start_bytes("download", part.len(), size.unwrap_or(0));
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 17];
        let cut = |len: u64, why: &str| {
            let of = size.map_or(String::new(), |size| format!(" of {}", bytes(size)));
            Failure::Passing(format!("was cut off after {}{of}{why}", bytes(len)))
        };
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    progress.finish();
                    return Err(cut(part.len(), &format!(" ({error})")));
                }
            };
            part.write(&buffer[..count])?;
            progress.set(part.len(), "");
        }
        progress.finish();
        match size {
            Some(size) if part.len() < size => Err(cut(part.len(), "")),
            Some(size) if part.len() > size => {
                part.restart(Origin::default())?;
                Err(Failure::Lasting("sends more than it said".into()))
            }
            _ => Ok(()),
        }
    }
}

fn refused(status: StatusCode) -> Failure {
    let reason = format!("answers {status}");
    match status.as_u16() {
        408 | 425 | 429 | 500..=599 => Failure::Passing(reason),
        _ => Failure::Lasting(reason),
    }
}

/// What went wrong before an answer came.
fn failure(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::Io(e) if e.kind() == ErrorKind::InvalidData => untrusted(&e.to_string()),
        ureq::Error::Io(e) => Failure::Passing(format!("cannot be reached: {e}")),
        ureq::Error::HostNotFound => Failure::Lasting("cannot be reached: no such host".into()),
        ureq::Error::Timeout(what) => Failure::Passing(format!("does not answer in time ({what})")),
        ureq::Error::Rustls(e) => untrusted(&e.to_string()),
        ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => {
            Failure::Passing(format!("cannot be talked to: {error}"))
        }
        error => Failure::Lasting(format!("cannot be talked to: {error}")),
    }
}

fn untrusted(reason: &str) -> Failure {
    Failure::Lasting(format!(
        "cannot be trusted: {reason} (SSL_CERT_FILE may name a file of other certificates)"
    ))
}

/// Mozilla's certificates, which are built in, or those of the file that SSL_CERT_FILE names.
fn tls() -> anyhow::Result<TlsConfig> {
    let mut config = TlsConfig::builder();
    if let Some(path) = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from) {
        let text = fs_err::read(&path)
            .map_err(|e| wrong(e.to_string()))
            .context("SSL_CERT_FILE")?;
        let certificates = parse_pem(&text).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        let certificates: Vec<_> = certificates.collect();
        if certificates.is_empty() {
            let path = path.display();
            return Err(wrong(format!("SSL_CERT_FILE: {path} holds no certificate")));
        }
        config = config.root_certs(RootCerts::new_with_certs(&certificates));
    }
    Ok(config.build())
}
