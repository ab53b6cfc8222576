//! Whose a flow is on this host. The agent asks, a helper process answers; the agent itself may read nothing of other
//! processes.
//!
//! ```text
//! packet path ──(a flow began, never waiting)──▶ thread ──question──▶ helper: sock_diag, /proc ──answer──▶ thread ──▶ known
//! control ──(a record is drained)──▶ known: names it with what is known by then, asks again about what is not
//! ```
//!
//! Question and answer are messages of a `SOCK_SEQPACKET` pair: bounded, whole or not there. The helper holds the two rights
//! that looking at other processes needs, and nothing else; a [`keeper`] with nothing to say starts it anew when it dies.
//! Until then, and where nobody knows, a record says nothing about its workload.

pub mod helper;
pub mod keeper;
mod process;
mod sockets;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::thread::CapabilitySet;
use warren_node_core::host::leak;
use warren_node_core::workload::{ANSWER, Answer, Known, Question};
use warren_wire::flow::{FlowEnd, FlowRecord};

/// Hidden commands of this program.
pub const KEEPER: &str = "workload-keeper";
pub const HELPER: &str = "workload-helper";

/// Reading `/proc/PID/fd` and `/proc/PID/exe` of others, and directories on the way there.
const RIGHTS: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// Flows that begin while the helper is busy; beyond it they are asked about with their first record.
const QUEUE: usize = 1024;
/// Records of one drain that are asked about again.
const ASKED_AGAIN: usize = 256;
const AGAIN: Duration = Duration::from_secs(1);

/// The helper's end of the pair, before there are threads.
pub struct Helper {
    socket: Arc<OwnedFd>,
    keeper: Option<Child>,
}

impl Helper {
    /// Starts the keeper, then gives up for good what only the helper needs. Call this while the process has one thread.
    pub fn start() -> io::Result<Helper> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(KEEPER).stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit());
        let keeper = command.spawn();
        give_up(RIGHTS)?;
        Ok(Helper { socket: Arc::new(ours), keeper: Some(keeper?) })
    }
}

/// Takes `rights` from this thread, and from those it starts.
fn give_up(rights: CapabilitySet) -> io::Result<()> {
    // What is ambient goes with what is permitted.
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective.remove(rights);
    sets.permitted.remove(rights);
    sets.inheritable.remove(rights);
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Leaves this process only `rights`, as far as it has them.
fn keep_only(rights: CapabilitySet) -> io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective = sets.permitted.intersection(rights);
    sets.permitted = sets.effective;
    sets.inheritable = sets.effective;
    rustix::thread::set_capabilities(None, sets)?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// What was answered about flows, and about what the leak guard refused: there somebody waits for it.
#[derive(Default)]
struct Heard {
    flows: Mutex<Known>,
    refused: Mutex<Known>,
    more: Condvar,
}

impl Heard {
    fn learn(&self, answer: Answer) {
        if answer.flow < leak::HEARD {
            return self.flows.lock().learn(answer);
        }
        self.refused.lock().learn(answer);
        self.more.notify_all();
    }
}

/// Asks whose a try is that is held back meanwhile.
#[derive(Clone)]
pub struct Asker {
    heard: Arc<Heard>,
    questions: SyncSender<Question>,
}

impl Asker {
    /// True: now it is known, as far as it can be. No helper keeps anybody waiting longer than `patience`.
    pub fn ask(&self, question: Question, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut known = self.heard.refused.lock();
        if self.questions.try_send(question).is_err() {
            return false;
        }
        while !known.has(question.flow) {
            if self.heard.more.wait_until(&mut known, until).timed_out() {
                return known.has(question.flow);
            }
        }
        true
    }
}

/// What the agent knows of its flows' workloads.
pub struct Workloads {
    heard: Arc<Heard>,
    questions: Option<SyncSender<Question>>,
    // Its end is the end of the helper: the socket closes.
    _keeper: Option<Child>,
}

impl Workloads {
    /// Nothing will be known.
    pub fn none() -> Workloads {
        Workloads { heard: Arc::default(), questions: None, _keeper: None }
    }

    /// Two threads that do nothing while nothing begins.
    pub fn of(helper: Helper) -> io::Result<Workloads> {
        let heard: Arc<Heard> = Arc::default();
        let (questions, asked) = sync_channel(QUEUE);
        let (out, inn) = (Arc::clone(&helper.socket), helper.socket);
        let answers = Arc::clone(&heard);
        let thread = |name: &str| std::thread::Builder::new().name(format!("warren-{name}"));
        thread("ask").spawn(move || ask(&out, &asked))?;
        thread("hear").spawn(move || hear(&inn, &answers))?;
        Ok(Workloads { heard, questions: Some(questions), _keeper: helper.keeper })
    }

    /// Where flows that begin are told.
    pub fn listener(&self) -> Option<SyncSender<Question>> {
        self.questions.clone()
    }

    /// Who asks about what the leak guard refused; nobody where there is no helper.
    pub fn asker(&self) -> Option<Asker> {
        let questions = self.questions.clone()?;
        Some(Asker { heard: Arc::clone(&self.heard), questions })
    }

    /// Names what the leak guard refused.
    pub fn name_refused(&self, records: &mut [FlowRecord]) {
        let mut known = self.heard.refused.lock();
        for record in records {
            known.name(record);
        }
    }

    /// Names each record as far as it is known now, and asks about live flows: of those that nobody knows whose they are, of
    /// TCP how the connection fares.
    pub fn name(&self, records: &mut [FlowRecord]) {
        let Some(questions) = &self.questions else { return };
        let mut known = self.heard.flows.lock();
        let mut left = ASKED_AGAIN;
        for record in records {
            let unknown = known.name(record);
            let worth = record.end() == FlowEnd::Open && (unknown || record.protocol == 6);
            if worth
                && left > 0
                && let Some(question) = Question::of(record)
            {
                left -= 1;
                let _ = questions.try_send(question);
            }
        }
    }
}

/// A helper that does not read, or is not there, is not waited for.
fn ask(socket: &OwnedFd, asked: &Receiver<Question>) {
    for question in asked {
        let sent = rustix::net::send(socket, &question.encode(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        if sent.is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn hear(socket: &OwnedFd, heard: &Heard) {
    let mut buffer = [0; ANSWER + 1];
    loop {
        match rustix::net::recv(socket.as_fd(), &mut buffer, RecvFlags::empty()) {
            Ok((_, 0)) => {
                tracing::warn!(
                    "nobody looks after workloads any more: flow records name none until the agent is restarted"
                );
                return;
            }
            Ok((_, len)) => {
                if let Some(answer) = buffer.get(..len).and_then(Answer::read) {
                    heard.learn(answer);
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => {
                tracing::warn!("the workload helper cannot be heard ({e})");
                std::thread::sleep(AGAIN);
            }
        }
    }
}
