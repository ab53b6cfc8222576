//! The C library's allocator makes an arena for each thread that asks while another does, and keeps it. This program's busy
//! threads ask for nothing, so two arenas are enough, and a third of a MiB is saved.

/// Once, before other threads begin.
pub fn keep_few_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: two numbers; no other thread allocates yet. A refusal (0) changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
