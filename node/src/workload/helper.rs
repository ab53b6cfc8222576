//! The helper: one question, one answer, until the agent is gone.

use std::process::ExitCode;

use rustix::net::{RecvFlags, SendFlags};
use warren_node_core::workload::{ANSWER, Answer, QUESTION, Question};
use warren_wire::flow::Workload;

use super::process::Processes;
use super::sockets::Sockets;
use super::{RIGHTS, keep_only};

/// Exit 0: nobody asks any more.
pub fn run() -> ExitCode {
    if let Err(e) = keep_only(RIGHTS) {
        eprintln!("warren-node: the workload helper's rights cannot be limited: {e}");
        return ExitCode::FAILURE;
    }
    // Names are worth little processor time.
    let _ = rustix::process::nice(10);
    let Ok(mut sockets) = Sockets::open() else {
        eprintln!("warren-node: the workload helper cannot ask the kernel about sockets");
        return ExitCode::FAILURE;
    };
    let mut processes = Processes::default();
    let socket = std::io::stdin();
    let mut buffer = [0; QUESTION + 1];
    loop {
        let len = match rustix::net::recv(&socket, &mut buffer, RecvFlags::empty()) {
            Ok((_, 0)) => return ExitCode::SUCCESS,
            Ok((_, len)) => len,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return ExitCode::FAILURE,
        };
        let Some(question) = buffer.get(..len).and_then(Question::decode) else { continue };
        let answer = answer(&question, &mut sockets, &mut processes).write();
        if answer.len() <= ANSWER && rustix::net::send(&socket, &answer, SendFlags::NOSIGNAL).is_err() {
            return ExitCode::SUCCESS;
        }
    }
}

fn answer(question: &Question, sockets: &mut Sockets, processes: &mut Processes) -> Answer {
    let nothing = Answer { flow: question.flow, ..Answer::default() };
    let Some(found) = sockets.find(question) else {
        let user =
            question.user.map(|number| Workload { user: processes.user(number), ..Workload::default() });
        return Answer { workload: user.map(Workload::harmless), ..nothing };
    };
    Answer {
        workload: processes.owner(found.inode, found.uid).map(Workload::harmless),
        rtt_us: found.rtt_us,
        retransmissions: found.retransmissions,
        ..nothing
    }
}
