//! What the C library's allocator keeps of what this program no longer uses.

/// Once, before other threads begin. An arena is made for each thread that asks while another does, and kept; this
/// program's busy threads ask for nothing, so two arenas are enough, and a third of a MiB is saved.
pub fn keep_few_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: two numbers; no other thread allocates yet. A refusal (0) changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// What was freed between blocks that are still in use is kept for ever: after a flood the process would stay as large as
/// it was in it. Takes about a millisecond.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; glibc locks each of its arenas while it works on it.
    unsafe {
        libc::malloc_trim(0);
    }
}
