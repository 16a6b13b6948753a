//! Servers that refuse, send something else, or send one elsewhere.

use super::*;

#[test]
fn what_servers_refuse_is_said_with_the_address() {
    let html = Reply {
        status: "200 OK",
        body: b"<html>log in</html>".to_vec(),
        ..Reply::default()
    };
    let html = html
        .with("Content-Type", "text/html; charset=utf-8")
        .with("Content-Length", "19");
    let blind = Reply {
        status: "200 OK",
        body: content(1),
        ..Reply::default()
    };
    let zipped = Site::of(&content(1)).answer(&web::Request {
        path: String::new(),
        headers: Default::default(),
    });
    let zipped = zipped.with("Content-Encoding", "gzip");
    for (reply, word) in [
        (Reply::of("404 Not Found"), "answers 404 Not Found"),
        (Reply::of("403 Forbidden"), "answers 403 Forbidden"),
        (Reply::of("503 Service Unavailable"), "answers 503"),
        (Reply::of("206 Partial Content"), "answers 206"),
        (Reply::of("302 Found"), "answers 302"),
        (
            Reply::of("302 Found").with("Location", "/x"),
            "redirects more than 10 times",
        ),
        (
            Reply::of("302 Found").with("Location", "file:///etc/passwd"),
            "redirects to nowhere",
        ),
        (html, "web page"),
        (blind, "does not say how large"),
        (zipped, "encoding"),
    ] {
        let server = Server::start(move |_| reply.clone());
        let world = World::new();
        let url = server.file("x");
        manifest(&world, std::slice::from_ref(&url), "");
        let text = fetch(&world, "-q --retries 0", 1);
        assert!(text.starts_with("error: cannot fetch x: "), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        for word in [word, &url, "put the file at weights/x.bin"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(files(&world), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn a_wrong_size_or_hash_is_refused() {
    let server = Server::of(Site::of(&content(1)));
    let chunked = Server::start(|_| {
        let body = [b"493e0\r\n".as_slice(), &content(1), b"\r\n0\r\n\r\n"].concat();
        let reply = Reply {
            status: "200 OK",
            body,
            ..Reply::default()
        };
        reply.with("Transfer-Encoding", "chunked")
    });
    let (hash, other) = (hash_bytes(&content(1)), hash_bytes(&content(2)));
    for (server, more, word) in [
        (
            &server,
            "size = 5".into(),
            "300000 bytes, and 5 by the manifest",
        ),
        (
            &chunked,
            "size = 5".into(),
            "300000 bytes, and 5 by the manifest",
        ),
        (
            &server,
            format!("sha256 = {other:?}"),
            &*format!("{hash}, and {other}"),
        ),
        (
            &chunked,
            format!("sha256 = {other:?}"),
            &*format!("{hash}, and {other}"),
        ),
    ] {
        let world = World::new();
        manifest(&world, &[server.file("x")], &more);
        let text = fetch(&world, "--retries 0", 1);
        assert!(
            text.contains(word) && text.contains(&server.file("x")),
            "{text}"
        );
        assert_eq!(files(&world), Vec::<String>::new(), "{more}");
        // The next mirror may have it.
        let more = match more.starts_with("size") {
            true => "size = 300000".to_string(),
            false => format!("sha256 = {hash:?}"),
        };
        let wrong = Server::of(Site::of(&content(2)[..299_999]));
        manifest(&world, &[wrong.file("x"), server.file("x")], &more);
        fetch(&world, "--retries 0", 0);
        assert!(world.bytes(FILE) == content(1));
        assert_eq!(files(&world), DONE);
    }
}

#[test]
fn mirrors_are_tried_in_order() {
    let gone = Server::start(|_| Reply::of("404 Not Found"));
    let deaf = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/x", listener.local_addr().unwrap())
    };
    let good = Server::of(Site::of(&content(1)));
    let unused = Server::of(Site::of(&content(2)));
    let world = World::new();
    let urls = [
        deaf.clone(),
        gone.file("x"),
        good.file("x"),
        unused.file("x"),
    ];
    manifest(&world, &urls[..2], "");
    let text = fetch(&world, "--retries 0", 1);
    for word in [&*deaf, "cannot be reached", &gone.file("x"), "404"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    manifest(&world, &urls, "");
    fetch(&world, "--retries 0", 0);
    assert!(world.bytes(FILE) == content(1));
    assert!(unused.asked().is_empty());
    let record = String::from_utf8(world.bytes(RECORD)).unwrap();
    assert!(record.contains(&good.file("x")), "{record}");
    // A busy server is asked once more.
    let mut busy = true;
    let site = Site::of(&content(3));
    let server = Server::start(move |request| match std::mem::take(&mut busy) {
        true => Reply::of("503 Service Unavailable"),
        false => site.answer(request),
    });
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    fetch(&world, "--retries 1", 0);
    assert!(world.bytes(FILE) == content(3));
}

#[test]
fn redirects_are_followed_but_not_out_of_encryption() {
    let site = Site::of(&content(1));
    let mut cut = Some(100_000);
    let server = Server::start(move |request| match request.path.as_str() {
        "/x" => Reply::of("302 Found").with("Location", "y/../z?a=b"),
        _ => Site {
            cut: cut.take(),
            ..site.clone()
        }
        .answer(request),
    });
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    fetch(&world, "--retries 1", 0);
    assert!(world.bytes(FILE) == content(1));
    let asked = server.asked();
    let asked: Vec<_> = asked
        .iter()
        .map(|r| (r.path.as_str(), r.header("range")))
        .collect();
    let rest = Some("bytes=100000-");
    let target = asked[1].0;
    assert!(target.ends_with("/z?a=b"), "{target}");
    assert_eq!(
        asked,
        [("/x", None), (target, None), ("/x", rest), (target, rest)]
    );

    let plain = Server::of(Site::of(&content(1)));
    let location = plain.file("x");
    let site = Site::of(&content(1));
    let encrypted = Server::encrypted(move |request| match request.path.as_str() {
        "/x" => site.answer(request),
        _ => Reply::of("301 Moved Permanently").with("Location", &*location),
    });
    let entrance = encrypted.file("x");
    let server =
        Server::start(move |_| Reply::of("308 Permanent Redirect").with("Location", &*entrance));
    fs::write(world.path("ca.pem"), web::PEM).unwrap();
    let trusting = |urls: &[String], status: i32| {
        let world_urls = urls.to_vec();
        manifest(&world, &world_urls, "");
        let _ = fs::remove_dir_all(world.path("weights"));
        let mut command = command(&world, "--retries 0");
        said(
            &command.env("SSL_CERT_FILE", "ca.pem").output().unwrap(),
            status,
        )
    };
    trusting(&[encrypted.file("x")], 0);
    assert!(world.bytes(FILE) == content(1));
    trusting(&[server.file("y")], 0);
    assert!(world.bytes(FILE) == content(1));
    let text = trusting(&[encrypted.file("y")], 1);
    assert!(text.contains("is not encrypted"), "{text}");
    assert!(plain.asked().is_empty());
    // Nobody else trusts that certificate.
    let text = fetch(&world, "--retries 0", 1);
    assert!(text.contains("cannot be trusted"), "{text}");
    let mut command = command(&world, "");
    let output = command.env("SSL_CERT_FILE", "m.toml").output().unwrap();
    assert!(said(&output, 2).contains("no certificate"));
}
