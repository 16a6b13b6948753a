//! Keeping freed memory for reuse.

/// Tells the C library to keep freed memory instead of handing it back to the system.
///
/// A training step allocates and frees the same large tensors again and again. By default glibc maps
/// each from the system and unmaps it again, and clearing fresh pages costs about a quarter of the
/// time of a step. Call this once, early in `main`; the process then keeps its peak memory until it
/// ends. Does nothing on other C libraries.
pub fn keep_freed_memory() {
    /// From glibc's malloc.h.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    const M_ARENA_MAX: i32 = -8;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt only sets tuning parameters of the allocator, and may be called at any time.
        unsafe {
            // Nor are the largest mapped: glibc would map what is above 32 MiB whatever the threshold, and the tensors and
            // packed weights of large networks are.
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_TOP_PAD, 64 << 20);
            // Arenas of other threads are given back whole when they fall empty.
            libc::mallopt(M_ARENA_MAX, 1);
        }
    }
}
