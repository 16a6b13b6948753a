//! A browser without a window.

#![allow(dead_code)] // Each test program uses its own part.

use std::path::Path;
use std::process::Command;

/// Debian's `chromium`, or what `FEWSTEP_BROWSER` names; where there is none, a test says so and passes, but not with CI=true.
pub fn browser() -> Option<String> {
    let named = std::env::var("FEWSTEP_BROWSER").unwrap_or_default();
    let name = if named.is_empty() {
        "chromium".to_string()
    } else {
        named
    };
    let there = Command::new(&name).arg("--version").output();
    if there.is_ok_and(|output| output.status.success()) {
        return Some(name);
    }
    assert!(
        std::env::var("CI").is_err(),
        "there is no {name}; .ci/run installs it, FEWSTEP_BROWSER names another"
    );
    println!("skipped: there is no {name}");
    None
}

/// What the browser makes of a page, and what it said meanwhile. All names lead nowhere but to this machine, at a port where
/// nobody listens.
pub fn opened(browser: &str, address: &str, more: &[&str], folder: &Path) -> (String, String) {
    let profile = folder.join("profile");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args([
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--v=0",
        ])
        .arg("--host-resolver-rules=MAP * 127.0.0.1:9, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(more)
        .arg(address)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), said)
}

/// What the browser asks its maker for by itself.
pub fn of_the_browser(url: &str) -> bool {
    ["google", "gvt1.com", "gstatic"]
        .iter()
        .any(|maker| url.contains(maker))
}
