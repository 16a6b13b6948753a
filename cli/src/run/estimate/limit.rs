//! What bounds the memory of this process, where the system tells: limits that it was started under, and what there is.

use std::path::{Path, PathBuf};

/// A bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bytes that this process can have in all.
    pub bytes: u64,
    /// Where it is from, for people.
    pub what: String,
    /// Whether nothing gets beyond it. Free memory may grow, and what is swapped out is not gone.
    pub hard: bool,
}

/// All bounds that are known here, on Linux; elsewhere none are.
pub fn limits() -> Vec<Limit> {
    limits_in(Path::new("/"))
}

/// The tightest of them.
pub fn tightest() -> Option<Limit> {
    limits().into_iter().min_by_key(|limit| limit.bytes)
}

/// The same, with `root` in the place of `/`.
fn limits_in(root: &Path) -> Vec<Limit> {
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap_or_default();
    let status = read("proc/self/status");
    let mut found = Vec::new();
    found.extend(address_space(&read("proc/self/limits"), &status));
    let memory = read("proc/meminfo");
    let swap = kilobytes(&memory, "SwapFree:").unwrap_or(0);
    let own = kilobytes(&status, "VmRSS:").unwrap_or(0);
    found.extend(group(root, &read("proc/self/cgroup"), swap > 0));
    if let Some(total) = kilobytes(&memory, "MemTotal:") {
        let total_swap = kilobytes(&memory, "SwapTotal:").unwrap_or(0);
        found.push(Limit {
            bytes: total + total_swap,
            what: "all memory of this machine".into(),
            hard: true,
        });
    }
    if let Some(free) = kilobytes(&memory, "MemAvailable:") {
        found.push(Limit {
            bytes: free + swap + own,
            what: "the memory that is free now".into(),
            hard: false,
        });
    }
    found
}

/// `ulimit -v`. What is mapped and not used counts there.
fn address_space(limits: &str, status: &str) -> Option<Limit> {
    let line = limits
        .lines()
        .find(|l| l.starts_with("Max address space"))?;
    let soft: u64 = line.split_whitespace().nth(3)?.parse().ok()?;
    let mapped = kilobytes(status, "VmSize:").unwrap_or(0);
    let used = kilobytes(status, "VmRSS:").unwrap_or(0);
    Some(Limit {
        bytes: soft.saturating_sub(mapped.saturating_sub(used)),
        what: "the limit on its address space (ulimit -v)".into(),
        hard: true,
    })
}

/// The tightest bound of the control groups that this process is in, of version 2 or 1.
fn group(root: &Path, groups: &str, swap: bool) -> Option<Limit> {
    let mut places: Vec<(PathBuf, &str)> = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (base, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|c| c == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container the path may be that of the outside; what it is in is at the top then.
        let inside = Path::new(path.trim_start_matches('/'));
        let above = inside
            .ancestors()
            .map(|folder| root.join(base).join(folder));
        places.extend(above.map(|folder| (folder, file)));
    }
    let bounds = places.into_iter().filter_map(|(folder, file)| {
        let text = std::fs::read_to_string(folder.join(file)).ok()?;
        let bytes: u64 = text.trim().parse().ok()?;
        // Version 1 writes no limit as a very large one.
        let swap = swap && file == "memory.max" && {
            let swap = std::fs::read_to_string(folder.join("memory.swap.max"));
            swap.is_ok_and(|swap| swap.trim() != "0")
        };
        (bytes < 1 << 60).then_some((bytes, swap))
    });
    let (bytes, swap) = bounds.min()?;
    Some(Limit {
        bytes,
        what: "the limit of its control group (a container's, or Slurm's)".into(),
        hard: !swap,
    })
}

/// The number after a key, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str =
        "MemTotal:       16000000 kB\nMemAvailable:    4000000 kB\nSwapTotal:       1000000 kB\n";

    fn machine(files: &[(&str, &str)]) -> Vec<(u64, bool)> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let limits = limits_in(root.path()).into_iter();
        limits
            .map(|limit| (limit.bytes / 1024, limit.hard))
            .collect()
    }

    #[test]
    fn every_kind_of_limit_is_found() {
        assert!(machine(&[]).is_empty());
        let plain = [(17_000_000, true), (4_000_000, false)];
        assert_eq!(machine(&[("proc/meminfo", MEMORY)]), plain);
        let with = |files: &[(&'static str, &'static str)]| {
            let files = [files, &[("proc/meminfo", MEMORY)]].concat();
            machine(&files)[0]
        };
        // Version 2: the tightest of those above, too.
        let two = [
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "2048000\n"),
            ("sys/fs/cgroup/memory.max", "4096000\n"),
        ];
        assert_eq!(with(&two), (2000, true));
        // Version 1, seen from inside a container.
        let one = [
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1024000\n"),
        ];
        assert_eq!(with(&one), (1000, true));
        let none = [
            ("proc/self/cgroup", "4:memory:/\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        assert_eq!(with(&none), plain[0]);
        let space = [
            (
                "proc/self/limits",
                "Limit  Soft Limit  Hard Limit  Units\nMax address space         2048000              unlimited            bytes\n",
            ),
            (
                "proc/self/status",
                "VmSize:\t    700 kB\nVmRSS:\t    200 kB\n",
            ),
        ];
        assert_eq!(with(&space), (1500, true));
        let unlimited = [(
            "proc/self/limits",
            "Max address space         unlimited            unlimited            bytes\n",
        )];
        assert_eq!(with(&unlimited), plain[0]);
        // What may be swapped out is no bound.
        let swap = [
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "2048000\n"),
            ("sys/fs/cgroup/memory.swap.max", "max\n"),
            ("proc/meminfo", "SwapFree:  10 kB\n"),
        ];
        assert_eq!(machine(&swap)[0], (2000, false));
    }

    #[test]
    fn this_machine_has_memory() {
        if cfg!(target_os = "linux") {
            let limits = limits();
            assert!(
                limits.iter().any(|limit| limit.bytes > 1 << 20),
                "{limits:?}"
            );
        }
    }
}
