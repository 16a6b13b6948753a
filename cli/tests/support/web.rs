//! A small web server for tests.

#![allow(dead_code)] // Each test program uses its own part.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The certificate of the encrypted server, and its key.
pub const PEM: &str = include_str!("localhost.pem");

/// What was asked; names of headers in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn read(stream: &mut impl Read) -> Option<Self> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let path = first.strip_prefix("GET ")?.split(' ').next()?.to_string();
        let lines = lines.map_while(Result::ok).take_while(|l| !l.is_empty());
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_string()))
        });
        Some(Self {
            path,
            headers: headers.collect(),
        })
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// How many bytes of the body to send before the line is cut.
    pub cut: Option<usize>,
    /// How long to say nothing before that.
    pub silence: Duration,
}

impl Reply {
    /// One without a body.
    pub fn of(status: &'static str) -> Self {
        Self {
            status,
            headers: vec![("Content-Length", "0".into())],
            ..Self::default()
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    fn write(&self, stream: &mut impl Write) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        let len = self.cut.unwrap_or(usize::MAX).min(self.body.len());
        stream.write_all(&self.body[..len])?;
        stream.flush()?;
        std::thread::sleep(self.silence);
        Ok(())
    }
}

/// A file on a server.
#[derive(Clone, Debug)]
pub struct Site {
    pub content: Vec<u8>,
    pub etag: Option<&'static str>,
    pub last_modified: Option<&'static str>,
    /// Whether it knows ranges.
    pub ranges: bool,
    /// Whether it looks at conditions.
    pub honest: bool,
    pub cut: Option<usize>,
    pub silence: Duration,
}

impl Site {
    pub fn of(content: &[u8]) -> Self {
        Self {
            content: content.to_vec(),
            etag: Some("\"one\""),
            last_modified: None,
            ranges: true,
            honest: true,
            cut: None,
            silence: Duration::ZERO,
        }
    }

    pub fn answer(&self, request: &Request) -> Reply {
        let range = request
            .header("range")
            .and_then(|r| r.strip_prefix("bytes="));
        let from: Option<usize> = range.and_then(|r| r.strip_suffix('-')?.parse().ok());
        let known = [self.etag, self.last_modified];
        let condition = request.header("if-range");
        let holds = condition.is_none_or(|c| known.contains(&Some(c))) || !self.honest;
        let all = self.content.len();
        let mut reply = match from.filter(|_| self.ranges && holds) {
            Some(from) if from >= all => Reply::of("416 Range Not Satisfiable")
                .with("Content-Range", format!("bytes */{all}")),
            Some(from) => Reply {
                status: "206 Partial Content",
                body: self.content[from..].to_vec(),
                ..Reply::default()
            }
            .with("Content-Range", format!("bytes {from}-{}/{all}", all - 1)),
            None => Reply {
                status: "200 OK",
                body: self.content.clone(),
                ..Reply::default()
            },
        };
        let len = reply.body.len();
        reply = reply.with("Content-Length", len.to_string());
        for (name, value) in ["ETag", "Last-Modified"].into_iter().zip(known) {
            if let Some(value) = value {
                reply = reply.with(name, value);
            }
        }
        Reply {
            cut: self.cut,
            silence: self.silence,
            ..reply
        }
    }
}

/// A server, until the end of the test.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// One that answers with what a function says, which may change its mind from request to request.
    pub fn start(answer: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        Self::listen("http", answer, |stream, serve| serve(&mut &stream))
    }

    /// An encrypted one.
    pub fn encrypted(answer: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let certificate = CertificateDer::from_pem_slice(PEM.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(PEM.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![certificate], key).unwrap());
        Self::listen("https", answer, move |stream, serve| {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            serve(&mut stream);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })
    }

    /// One that always has the same file.
    pub fn of(site: Site) -> Self {
        Self::start(move |request| site.answer(request))
    }

    fn listen(
        scheme: &str,
        answer: impl FnMut(&Request) -> Reply + Send + 'static,
        wrap: impl Fn(TcpStream, &mut dyn FnMut(&mut dyn Stream)) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let (answer, wrap) = (Arc::new(Mutex::new(answer)), Arc::new(wrap));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, wrap, log) = (answer.clone(), wrap.clone(), log.clone());
                std::thread::spawn(move || {
                    wrap(stream, &mut |mut stream| {
                        let Some(request) = Request::read(&mut stream) else {
                            return;
                        };
                        log.lock().unwrap().push(request.clone());
                        let reply = answer.lock().unwrap()(&request);
                        // Whoever asked may be gone.
                        let _ = reply.write(&mut stream);
                    });
                });
            }
        });
        Self { url, seen }
    }

    /// The address of a file on it.
    pub fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// A connection.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}
