//! The page of a run that goes on, for a browser on the same machine, and nobody else.
//!
//! Only what is asked for by name is answered: the page, how new it is, and previews. No path of the request is ever opened.

use super::report::live;
use super::source::preview_round;
use crate::screen::failure::{one_line, wrong};
use crate::screen::progress::Reporter;
use anyhow::Context as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// The port, unless one is named; if another process has it, any that is free.
pub const PORT: u16 = 7007;
/// What a browser asks is shorter.
const LONGEST: usize = 16 << 10;
const HEADERS: usize = 64;
/// For who asks and then says nothing, or does not listen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers at the same time.
const MOST: usize = 32;
/// Scripts and style stand in the page; pictures come from here.
const POLICY: &str = "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline'; \
                      script-src 'unsafe-inline'; frame-ancestors 'none'";

/// Listens on the loopback address.
pub struct Server {
    listener: TcpListener,
    folder: PathBuf,
}

/// What is sent back.
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: Vec<u8>,
}

impl Server {
    /// Opens the port; without a wish for one, the usual one or any.
    ///
    /// # Errors
    /// Another process listens at the port that was wished for.
    pub fn open(folder: &Path, port: Option<u16>) -> anyhow::Result<Self> {
        let at = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match port {
            Some(port) => at(port).map_err(|error| {
                wrong(format!(
                    "--port {port}: cannot listen there ({error}); name another one, or leave --port away for one that is free"
                ))
            })?,
            None => at(PORT)
                .or_else(|_| at(0))
                .context("cannot listen on the loopback address")?,
        };
        Ok(Self {
            listener,
            folder: folder.to_path_buf(),
        })
    }

    /// What to type into a browser.
    pub fn address(&self) -> anyhow::Result<String> {
        let at = self.listener.local_addr().context("cannot listen")?;
        Ok(format!("http://{at}/"))
    }

    /// Answers in a thread of its own, until the program ends.
    pub fn start(self) -> anyhow::Result<()> {
        std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || self.answer_all())
            .context("cannot start a thread")?;
        Ok(())
    }

    /// Answers until the program ends.
    pub fn answer_all(&self) {
        let at = self.listener.local_addr().ok();
        let busy = Arc::new(AtomicUsize::new(0));
        for stream in self.listener.incoming() {
            let (Ok(stream), Some(at)) = (stream, at) else {
                // Too many open files, say: it passes.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            if busy.load(Ordering::Relaxed) >= MOST {
                continue;
            }
            busy.fetch_add(1, Ordering::Relaxed);
            let (folder, mine) = (self.folder.clone(), Arc::clone(&busy));
            let started = std::thread::Builder::new().spawn(move || {
                // Who does not listen to the end has gone.
                let _ = serve(stream, &folder, at);
                mine.fetch_sub(1, Ordering::Relaxed);
            });
            if started.is_err() {
                busy.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// Serves the folder of a run that this program is about to begin, and says where.
///
/// # Errors
/// There is no port.
pub fn watch(folder: &Path, reporter: Reporter) -> anyhow::Result<()> {
    let server = Server::open(folder, None)?;
    reporter.say(format!("watch it at {}", server.address()?));
    server.start()
}

fn serve(mut stream: TcpStream, folder: &Path, at: SocketAddr) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut asked = Vec::new();
    let answer = loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&asked) {
            Ok(httparse::Status::Complete(_)) => break answer(&request, folder, at),
            Ok(httparse::Status::Partial) if asked.len() < LONGEST => {}
            _ => break plain("400 Bad Request", "this is no request"),
        }
        let mut more = [0; 2048];
        match stream.read(&mut more)? {
            0 => return Ok(()),
            n => asked.extend_from_slice(&more[..n]),
        }
    };
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: {POLICY}\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.kind,
        answer.body.len()
    );
    stream.write_all(head.as_bytes())?;
    if !asked.starts_with(b"HEAD ") {
        stream.write_all(&answer.body)?;
    }
    stream.flush()?;
    // What is left unread when a connection is closed would throw the answer away.
    stream.shutdown(Shutdown::Write)?;
    let rest = std::io::copy(&mut stream.take(LONGEST as u64), &mut std::io::sink());
    rest.map(|_| ())
}

fn plain(status: &'static str, text: &str) -> Answer {
    Answer {
        status,
        kind: "text/plain; charset=utf-8",
        body: format!("{text}\n").into_bytes(),
    }
}

fn answer(request: &httparse::Request<'_, '_>, folder: &Path, at: SocketAddr) -> Answer {
    if !matches!(request.method, Some("GET" | "HEAD")) {
        return plain("405 Method Not Allowed", "there is only to look at");
    }
    // A page from elsewhere that gives its own name this address would otherwise be told.
    let mut hosts = request.headers.iter();
    let host = hosts.find(|header| header.name.eq_ignore_ascii_case("host"));
    let own = [format!("localhost:{}", at.port()), at.to_string()];
    let host = host.and_then(|header| std::str::from_utf8(header.value).ok());
    if !host.is_some_and(|host| own.iter().any(|own| own.eq_ignore_ascii_case(host))) {
        return plain(
            "403 Forbidden",
            "ask by the address that `fewstep watch` prints",
        );
    }
    let path = request.path.unwrap_or("");
    let path = path.split('?').next().unwrap_or("");
    match path {
        "/" => match live(folder) {
            Ok(page) => Answer {
                status: "200 OK",
                kind: "text/html; charset=utf-8",
                body: page.into_bytes(),
            },
            Err(error) => plain("503 Service Unavailable", &one_line(&error)),
        },
        "/version" => plain("200 OK", &version(folder)),
        _ => match picture(folder, path) {
            Some(body) => Answer {
                status: "200 OK",
                kind: "image/png",
                body,
            },
            None => plain("404 Not Found", "there is no such thing"),
        },
    }
}

/// A preview, whose name is made anew from its round.
fn picture(folder: &Path, path: &str) -> Option<Vec<u8>> {
    let round = preview_round(path.strip_prefix('/')?)?;
    let file = folder.join(format!("preview-{round:07}.png"));
    let plain = std::fs::symlink_metadata(&file).ok()?.is_file();
    plain.then(|| std::fs::read(file).ok())?
}

/// A text that is another one when there is something new to see.
fn version(folder: &Path) -> String {
    let of = |name: &str| {
        let there = std::fs::metadata(folder.join(name)).ok()?;
        let time = there.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(format!("{}-{}", there.len(), time.as_nanos()))
    };
    // The folder's own time changes with each file that comes, as all of them are renamed into it.
    [".", "metrics.jsonl", "recipe.toml"]
        .map(|name| of(name).unwrap_or_default())
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_previews_are_given_away() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(root.path().join("secret.png"), "secret").unwrap();
        std::fs::write(root.path().join("preview-0000009.png"), "secret").unwrap();
        std::fs::write(folder.join("state.safetensors"), "secret").unwrap();
        std::fs::write(folder.join("preview-0000008.png"), "picture").unwrap();
        assert_eq!(
            picture(&folder, "/preview-0000008.png").unwrap(),
            b"picture"
        );
        for path in [
            "/state.safetensors",
            "/../secret.png",
            "/../preview-0000009.png",
            "/preview-0000009.png",
            "//preview-0000008.png/../../secret.png",
            "/%2e%2e/secret.png",
            "/preview-../../secret.png",
            "preview-0000008.png",
            "/run/preview-0000008.png",
            "",
        ] {
            assert_eq!(picture(&folder, path), None, "{path}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../secret.png", folder.join("preview-0000007.png"))
                .unwrap();
            assert_eq!(picture(&folder, "/preview-0000007.png"), None);
        }
    }
}
