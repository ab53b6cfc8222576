//! Whose a flow is on this host: process, user, unit or container. What is asked of the helper and what it answers are
//! messages of bounded length; all that a process could choose (its name, its path) is made harmless here, once.
//!
//! - [`Question`] one flow as its own socket would have it; [`Answer`] what the helper found.
//! - [`cgroup`] from the text of `/proc/PID/cgroup` to a unit and a container.
//! - [`Known`] what was answered so far, so that a record is named without waiting for anybody.

pub mod cgroup;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::mpsc::SyncSender;

use prost::Message as _;
use warren_wire::flow::{FlowEnd, FlowRecord, Workload};

/// Bytes of a question, and of an answer at most.
pub const QUESTION: usize = 52;
pub const ANSWER: usize = 2048;

/// A flow that began, or whose socket is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub flow: u64,
    /// IP protocol number: 6 or 17; of others no socket is known.
    pub protocol: u8,
    /// This host opened it.
    pub outbound: bool,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Whose socket it was, if that is known already: said if no socket is found any more.
    pub user: Option<u32>,
}

/// In a question: the user is not known. It is nobody's number.
const NOBODY: u32 = u32::MAX;

impl Question {
    pub fn encode(&self) -> [u8; QUESTION] {
        let mut out = [0; QUESTION];
        let v4 = u8::from(self.local.is_ipv4());
        let parts: [&[u8]; 7] = [
            &self.flow.to_be_bytes(),
            &[self.protocol, v4, u8::from(self.outbound), 0],
            &self.local.port().to_be_bytes(),
            &self.remote.port().to_be_bytes(),
            &wide(self.local.ip()),
            &wide(self.remote.ip()),
            &self.user.unwrap_or(NOBODY).to_be_bytes(),
        ];
        for (place, byte) in out.iter_mut().zip(parts.concat()) {
            *place = byte;
        }
        out
    }

    /// `None`: not a question.
    pub fn decode(bytes: &[u8]) -> Option<Question> {
        let bytes: &[u8; QUESTION] = bytes.try_into().ok()?;
        let (flow, rest) = bytes.split_first_chunk::<8>()?;
        let ([protocol, v4, outbound, _], rest) = rest.split_first_chunk::<4>()?;
        let (local_port, rest) = rest.split_first_chunk::<2>()?;
        let (remote_port, rest) = rest.split_first_chunk::<2>()?;
        let (local, rest) = rest.split_first_chunk::<16>()?;
        let (remote, rest) = rest.split_first_chunk::<16>()?;
        let user = u32::from_be_bytes(*rest.first_chunk()?);
        let end = |address: &[u8; 16], port: &[u8; 2]| {
            let ip = if *v4 == 1 {
                IpAddr::from(<[u8; 4]>::try_from(address.get(..4)?).ok()?)
            } else {
                (*address).into()
            };
            Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
        };
        (*v4 <= 1 && *outbound <= 1 && matches!(protocol, 6 | 17)).then_some(())?;
        Some(Question {
            flow: u64::from_be_bytes(*flow),
            protocol: *protocol,
            outbound: *outbound == 1,
            local: end(local, local_port)?,
            remote: end(remote, remote_port)?,
            user: (user != NOBODY).then_some(user),
        })
    }

    /// What a record would be asked about; `None` if no socket could be known.
    pub fn of(record: &FlowRecord) -> Option<Question> {
        let protocol = u8::try_from(record.protocol).ok().filter(|p| matches!(p, 6 | 17))?;
        let end =
            |address: Option<IpAddr>, port: u32| Some(SocketAddr::new(address?, u16::try_from(port).ok()?));
        let (src, dst) =
            (end(record.source(), record.src_port)?, end(record.destination(), record.dst_port)?);
        let (local, remote) = if record.outbound { (src, dst) } else { (dst, src) };
        Some(Question { flow: record.flow, protocol, outbound: record.outbound, local, remote, user: None })
    }
}

fn wide(ip: IpAddr) -> [u8; 16] {
    let mut out = [0; 16];
    match ip {
        IpAddr::V4(v4) => out.iter_mut().zip(v4.octets()).for_each(|(place, byte)| *place = byte),
        IpAddr::V6(v6) => out = v6.octets(),
    }
    out
}

/// What the helper found.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Answer {
    #[prost(uint64, tag = "1")]
    pub flow: u64,
    #[prost(message, optional, tag = "2")]
    pub workload: Option<Workload>,
    /// Of the kernel's own connection, microseconds; and segments it has sent again.
    #[prost(uint64, optional, tag = "3")]
    pub rtt_us: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub retransmissions: Option<u64>,
}

impl Answer {
    /// What came from the helper, made harmless once more. `None`: not an answer.
    pub fn read(bytes: &[u8]) -> Option<Answer> {
        if bytes.len() > ANSWER {
            return None;
        }
        let mut answer = Answer::decode(bytes).ok()?;
        answer.workload =
            answer.workload.map(Workload::harmless).filter(|workload| *workload != Workload::default());
        Some(answer)
    }

    /// Ready to be sent, never longer than [`ANSWER`].
    pub fn write(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

/// Where flows that begin are told, once somebody listens. Nobody waits: what has no room is not told.
#[derive(Debug, Default)]
pub struct Openings(OnceLock<SyncSender<Question>>);

impl Openings {
    /// From now on. The second one hears nothing.
    pub fn tell_to(&self, listener: SyncSender<Question>) {
        let _ = self.0.set(listener);
    }

    pub(crate) fn tell(&self, question: impl FnOnce() -> Option<Question>) {
        if let Some(listener) = self.0.get()
            && let Some(question) = question()
        {
            let _ = listener.try_send(question);
        }
    }
}

/// Answers kept at most; the oldest flows go first.
const KNOWN: usize = 32_768;

/// What was answered, by flow.
#[derive(Debug, Default)]
pub struct Known {
    answers: BTreeMap<u64, Learnt>,
}

#[derive(Clone, Debug)]
struct Learnt {
    answer: Answer,
    /// Retransmissions that stand in records already.
    told: u64,
}

impl Known {
    pub fn learn(&mut self, answer: Answer) {
        match self.answers.get_mut(&answer.flow).map(|learnt| &mut learnt.answer) {
            // A socket that is gone says nothing any more; what it said before is still true.
            Some(known) => {
                let news = answer.workload.filter(|new| known.workload.is_none() || !new.process.is_empty());
                known.workload = news.or(known.workload.take());
                known.rtt_us = answer.rtt_us.or(known.rtt_us);
                known.retransmissions = answer.retransmissions.or(known.retransmissions);
            }
            None => {
                if self.answers.len() >= KNOWN {
                    self.answers.pop_first();
                }
                self.answers.insert(answer.flow, Learnt { answer, told: 0 });
            }
        }
    }

    /// Writes what is known into a record; after the flow's last record it is forgotten. True if no process was known.
    pub fn name(&mut self, record: &mut FlowRecord) -> bool {
        let ends = !matches!(record.end(), FlowEnd::Open);
        let Some(learnt) = self.answers.get_mut(&record.flow) else { return true };
        record.workload.clone_from(&learnt.answer.workload);
        record.rtt_us = learnt.answer.rtt_us;
        record.retransmissions = learnt.answer.retransmissions.map(|all| all.saturating_sub(learnt.told));
        learnt.told = learnt.answer.retransmissions.unwrap_or_default();
        if ends {
            self.answers.remove(&record.flow);
        }
        record.workload.as_ref().is_none_or(|workload| workload.process.is_empty())
    }

    /// Was this flow answered about?
    pub fn has(&self, flow: u64) -> bool {
        self.answers.contains_key(&flow)
    }

    pub fn len(&self) -> usize {
        self.answers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}
