//! Interrupting a thread that sleeps in a system call: it returns with `EINTR` and looks around. The only use of a signal
//! between threads of this process; the handler does nothing.

use std::io;

use super::checked;

const SIGNAL: libc::c_int = libc::SIGUSR1;

extern "C" fn nothing(_: libc::c_int) {}

/// Once, before any thread may be interrupted: without a handler the signal would end the process.
pub fn prepare() -> io::Result<()> {
    // SAFETY: `sigaction` is plain data, all zeros is valid: no flags (so that system calls are not restarted), no mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: `action` lives until the call returns and its handler is an `extern "C" fn` that does nothing.
    checked(unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) })
}

/// A thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread(pub libc::pid_t);

/// The calling thread.
pub fn this_thread() -> Thread {
    // SAFETY: takes nothing and cannot fail.
    Thread(unsafe { libc::gettid() })
}

/// Ends the system call `thread` sleeps in. An error means that it has ended.
pub fn interrupt(thread: Thread) -> io::Result<()> {
    // SAFETY: numbers only; the kernel checks that the thread belongs to this process.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.0, SIGNAL) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_thread_that_sleeps_in_a_read_is_interrupted() {
        prepare().unwrap();
        let (mut reader, _writer) = io::pipe().unwrap();
        let (say, hear) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            say.send(this_thread()).unwrap();
            let error = reader.read(&mut [0]).unwrap_err();
            end.send(error.kind()).unwrap();
        });
        let thread = hear.recv().unwrap();
        let kind = loop {
            interrupt(thread).unwrap();
            if let Ok(kind) = ended.recv_timeout(Duration::from_millis(5)) {
                break kind;
            }
        };
        assert_eq!(kind, ErrorKind::Interrupted);
        sleeper.join().unwrap();
        // A join ends a moment before the kernel has taken the thread off its list: until then a signal to it is still taken.
        let begun = Instant::now();
        while interrupt(thread).is_ok() {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "a thread that has ended can be interrupted for ever"
            );
            std::thread::yield_now();
        }
    }
}
