//! The memory of this process, where the system tells.

/// The largest memory this process has used so far in bytes, where the system tells.
pub fn peak_memory() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Lets [`peak_memory`] begin anew with what is in memory now; whether the system can do that.
pub fn forget_peak_memory() -> bool {
    // Linux; proc(5): "5" resets the peak of the process's own resident memory.
    fs_err::write("/proc/self/clear_refs", "5").is_ok()
}
