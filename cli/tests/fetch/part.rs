//! What has come of a file, and the rest of it.

use super::*;

#[test]
fn what_was_cut_off_goes_on() {
    for (etag, date, condition) in [
        (
            Some("\"one\""),
            Some("Mon, 02 Jan 2023 00:00:00 GMT"),
            "\"one\"",
        ),
        (
            Some("W/\"one\""),
            Some("Mon, 02 Jan 2023 00:00:00 GMT"),
            "Mon, 02 Jan 2023 00:00:00 GMT",
        ),
    ] {
        let site = Site {
            etag,
            last_modified: date,
            ..Site::of(&content(1))
        };
        let server = cutting(site, 1);
        let world = half(&server, "");
        let text = fetch(&world, "", 0);
        assert!(text.contains("going on after 100.0 kB"), "{text}");
        let asked = server.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].header("range"), Some("bytes=100000-"));
        assert_eq!(asked[0].header("if-range"), Some(condition));
        assert!(world.bytes(FILE) == content(1));
        assert_eq!(files(&world), DONE);
    }
    // In one command: each answer brings a third, so one retry is enough for any number of them.
    let server = cutting(Site::of(&content(1)), 2);
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    let text = fetch(&world, "--retries 1", 0);
    assert_eq!(text.matches("trying again (1 of 1)").count(), 2, "{text}");
    let ranges: Vec<_> = server.asked();
    let ranges: Vec<_> = ranges.iter().map(|r| r.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-"), Some("bytes=200000-")]);
    assert!(world.bytes(FILE) == content(1));
}

#[test]
fn ranges_that_are_not_what_was_asked_for() {
    // A server may send less than it was asked for, but it must say so.
    for (kept, word) in [(true, "going on after 200.0 kB"), (false, "thrown away")] {
        let site = Site::of(&content(1));
        let mut first = true;
        let server = Server::start(move |request| {
            let mut reply = site.answer(request);
            if std::mem::take(&mut first) {
                reply.cut = Some(100_000);
            } else if reply.status.starts_with("206") && kept {
                let from = site.content.len() - reply.body.len();
                reply.body.truncate(100_000);
                let to = from + reply.body.len();
                reply = reply.with("Content-Range", format!("bytes {from}-{}/300000", to - 1));
                reply = reply.with("Content-Length", (to - from).to_string());
            } else if reply.status.starts_with("206") {
                reply.body = site.content.clone();
                reply = reply.with("Content-Range", "bytes 0-299999/300000");
                reply = reply.with("Content-Length", "300000");
            }
            reply
        });
        let world = half(&server, "");
        let text = fetch(&world, "--retries 1", 0);
        assert!(text.contains(word), "{word}: {text}");
        assert!(world.bytes(FILE) == content(1));
    }
}

#[test]
fn a_server_without_ranges_starts_anew() {
    let site = Site {
        ranges: false,
        ..Site::of(&content(1))
    };
    let server = cutting(site, 1);
    let world = half(&server, "");
    let text = fetch(&world, "", 0);
    assert!(text.contains("knows no ranges"), "{text}");
    assert!(world.bytes(FILE) == content(1));
}

#[test]
fn a_file_that_has_changed_is_not_mixed_with_the_old_one() {
    let long = [content(2), content(3)].concat();
    for (honest, etag, new, word) in [
        (true, Some("\"two\""), content(2), "it has changed"),
        // Sends its part whatever the condition; the name of the content, or its size, tells.
        (false, Some("\"two\""), content(2), "the file has changed"),
        (false, Some("\"one\""), long.clone(), "the file has changed"),
        // Smaller than what has come.
        (
            false,
            Some("\"one\""),
            content(2)[..50_000].to_vec(),
            "the file has changed",
        ),
    ] {
        let mut first = true;
        let changed = Site {
            etag,
            honest,
            ..Site::of(&new)
        };
        let server = Server::start(move |request| {
            let site = match std::mem::take(&mut first) {
                true => Site {
                    cut: Some(100_000),
                    ..Site::of(&content(1))
                },
                false => changed.clone(),
            };
            site.answer(request)
        });
        let world = half(&server, "");
        let text = fetch(&world, "", 0);
        assert!(text.contains(word), "{word}: {text}");
        assert!(world.bytes(FILE) == new, "{word}");
        assert_eq!(files(&world), DONE);
    }
}

#[test]
fn nothing_goes_on_unseen() {
    let nameless = Site {
        etag: None,
        ..Site::of(&content(1))
    };
    // Nothing would show a change: from the beginning.
    let server = cutting(nameless.clone(), 1);
    let world = half(&server, "");
    let text = fetch(&world, "", 0);
    assert!(text.contains("nothing would tell"), "{text}");
    assert_eq!(server.asked()[0].header("range"), None);
    assert!(world.bytes(FILE) == content(1));
    // The hash will: it goes on, from another mirror as well.
    let more = format!("sha256 = {:?}", hash_bytes(&content(1)));
    let server = cutting(nameless.clone(), 1);
    let mirror = Server::of(nameless.clone());
    let world = half(&server, &more);
    manifest(&world, &[mirror.file("x")], &more);
    fetch(&world, "", 0);
    let asked = mirror.asked();
    assert_eq!(asked[0].header("range"), Some("bytes=100000-"));
    assert_eq!(asked[0].header("if-range"), None);
    assert!(world.bytes(FILE) == content(1));
    // And does: the part of one file and the rest of another are refused, and nothing of them stays.
    let server = cutting(nameless.clone(), 1);
    let mirror = Server::of(Site {
        content: content(2),
        ..nameless
    });
    let world = half(&server, &more);
    manifest(&world, &[mirror.file("x")], &more);
    let text = fetch(&world, "--retries 0", 1);
    assert!(text.contains("sent another file: its SHA-256"), "{text}");
    assert_eq!(files(&world), Vec::<String>::new());
    // Without a hash, a mirror is asked for the whole file.
    let server = cutting(Site::of(&content(1)), 1);
    let mirror = Server::of(Site::of(&content(2)));
    let world = half(&server, "");
    manifest(&world, &[mirror.file("x")], "");
    fetch(&world, "", 0);
    assert_eq!(mirror.asked()[0].header("range"), None);
    assert!(world.bytes(FILE) == content(2));
}
