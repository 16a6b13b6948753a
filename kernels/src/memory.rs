//! Keeping freed memory for reuse.

/// Tells the C library to keep freed memory instead of handing it back to the system.
///
/// A training step allocates and frees the same large tensors again and again. By default glibc maps
/// each from the system and unmaps it again, and clearing fresh pages costs about a quarter of the
/// time of a step. Call this once, early in `main`; the process then keeps its peak memory until it
/// ends. Does nothing on other C libraries.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt only sets tuning parameters of the allocator, and may be called at any time.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        }
    }
}
