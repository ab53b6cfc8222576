use proptest::prelude::*;
use warren_wire::flow::FlowEnd;

use super::cgroup::{self, Place};
use super::*;

const ID: &str = "3f2a9c0b7e6d5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a";

fn place(unit: &str, container: &str) -> Place {
    Place { unit: unit.to_owned(), container: container.to_owned() }
}

#[test]
fn recorded_texts_of_proc_pid_cgroup_say_which_unit_and_which_container() {
    let cases = [
        ("0::/system.slice/nginx.service\n".to_owned(), place("nginx.service", "")),
        ("0::/system.slice/system-postgresql.slice/postgresql@16-main.service".to_owned(), place("postgresql@16-main.service", "")),
        ("0::/user.slice/user-1000.slice/session-3.scope".to_owned(), place("session-3.scope", "")),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/syncthing.service".to_owned(),
            place("syncthing.service", ""),
        ),
        // cgroup v1 beside systemd.
        (
            "12:memory:/system.slice/cron.service\n1:name=systemd:/system.slice/cron.service\n0::/system.slice/cron.service\n"
                .to_owned(),
            place("cron.service", ""),
        ),
        ("9:cpuset:/\n1:name=systemd:/system.slice/ssh.service\n".to_owned(), place("ssh.service", "")),
        // docker, systemd driver and cgroupfs driver, v2 and v1.
        (format!("0::/system.slice/docker-{ID}.scope"), place("", "docker:3f2a9c0b7e6d")),
        (format!("0::/docker/{ID}"), place("", "docker:3f2a9c0b7e6d")),
        (format!("11:pids:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/containerd.service"), place("", "docker:3f2a9c0b7e6d")),
        // podman, root and rootless.
        (format!("0::/machine.slice/libpod-{ID}.scope/container"), place("", "podman:3f2a9c0b7e6d")),
        (
            format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
            place("", "podman:3f2a9c0b7e6d"),
        ),
        // kubernetes: containerd, CRI-O, cgroupfs driver.
        (
            format!("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1f0c.slice/cri-containerd-{ID}.scope"),
            place("", "kubernetes:3f2a9c0b7e6d"),
        ),
        (format!("0::/kubepods.slice/kubepods-pod9.slice/crio-{ID}.scope"), place("", "kubernetes:3f2a9c0b7e6d")),
        (format!("4:cpu:/kubepods/besteffort/pod77/{ID}"), place("", "kubernetes:3f2a9c0b7e6d")),
        // nothing to be known.
        ("0::/\n".to_owned(), Place::default()),
        (String::new(), Place::default()),
        ("no cgroup at all".to_owned(), Place::default()),
        (format!("0::/a/{}", &ID[..63]), Place::default()),
        (format!("0::/a/docker-{}", ID.to_uppercase()), Place::default()),
    ];
    for (text, want) in cases {
        assert_eq!(cgroup::parse(&text), want, "{text}");
    }
}

#[test]
fn a_hostile_name_is_only_text() {
    let hostile = Workload {
        process: "ev\u{1b}[2J\n\u{202e}il".to_owned(),
        executable: "/tmp/\r\n<script>".repeat(100),
        user: "root\0".to_owned(),
        unit: "\u{7f}".repeat(500),
        container: String::new(),
    };
    let answer = Answer { flow: 1, workload: Some(hostile), ..Answer::default() };
    let bytes =
        Answer { workload: answer.workload.clone().map(Workload::harmless), ..answer.clone() }.write();
    assert!(bytes.len() <= ANSWER);
    let raw = answer.write();
    assert_eq!(Answer::read(&raw[..raw.len().min(ANSWER)]).is_some(), raw.len() <= ANSWER);
    let shown = Answer::read(&bytes).unwrap().workload.unwrap();
    assert_eq!(shown.clone().harmless(), shown, "what is harmless stays as it is");
    for (text, most) in [
        (&shown.process, Workload::PROCESS),
        (&shown.executable, Workload::EXECUTABLE),
        (&shown.user, Workload::USER),
        (&shown.unit, Workload::UNIT),
    ] {
        assert!(text.len() <= most && !text.is_empty(), "{text:?}");
        assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text:?}");
    }
}

fn record(flow: u64, end: FlowEnd) -> FlowRecord {
    FlowRecord { flow, end: end as i32, ..FlowRecord::default() }
}

#[test]
fn what_was_known_stays_known_until_the_flow_has_ended() {
    let mut known = Known::default();
    let workload = Workload { process: "curl".to_owned(), ..Workload::default() };
    known.learn(Answer { flow: 7, workload: Some(workload.clone()), ..Answer::default() });
    known.learn(Answer { flow: 7, rtt_us: Some(250), ..Answer::default() });
    let mut open = record(7, FlowEnd::Open);
    assert!(!known.name(&mut open));
    assert_eq!((open.workload, open.rtt_us), (Some(workload.clone()), Some(250)));
    // The process has gone, the socket not yet: whose it was is known better.
    let user = Workload { user: "root".to_owned(), ..Workload::default() };
    known.learn(Answer { flow: 7, workload: Some(user.clone()), ..Answer::default() });
    known.learn(Answer { flow: 8, workload: Some(user.clone()), ..Answer::default() });
    let mut other = record(8, FlowEnd::Refused);
    assert!(known.name(&mut other), "no process");
    assert_eq!(other.workload, Some(user));
    let mut last = record(7, FlowEnd::Closed);
    known.name(&mut last);
    assert_eq!(last.workload, Some(workload));
    assert!(known.name(&mut record(7, FlowEnd::Open)) && known.is_empty());
    (0..2 * KNOWN as u64).for_each(|flow| known.learn(Answer { flow, ..Answer::default() }));
    assert_eq!(known.len(), KNOWN);
}

/// The kernel counts over the life of a connection, a record only what came since the one before: so records add up.
#[test]
fn what_was_sent_again_stands_in_one_record_only() {
    let mut known = Known::default();
    let answer = |retransmissions| Answer { flow: 7, retransmissions, ..Answer::default() };
    let told = |known: &mut Known, end| {
        let mut record = record(7, end);
        known.name(&mut record);
        record.retransmissions
    };
    assert_eq!(told(&mut known, FlowEnd::Open), None, "not known is not none");
    known.learn(answer(Some(3)));
    assert_eq!(told(&mut known, FlowEnd::Open), Some(3));
    assert_eq!(told(&mut known, FlowEnd::Open), Some(0));
    known.learn(answer(Some(8)));
    known.learn(answer(None));
    assert_eq!(told(&mut known, FlowEnd::Closed), Some(5), "the socket has gone, what it said is true");
}

proptest! {
    #[test]
    fn a_question_is_read_as_it_was_asked(
        flow: u64, tcp: bool, outbound: bool, a: [u8; 16], v4: bool, p: u16, q: u16, user in prop::option::of(0..u32::MAX)
    ) {
        let ip = |b: [u8; 16]| if v4 { IpAddr::from([b[0], b[1], b[2], b[3]]) } else { IpAddr::from(b) };
        let question = Question {
            flow,
            protocol: if tcp { 6 } else { 17 },
            outbound,
            local: SocketAddr::new(ip(a), p),
            remote: SocketAddr::new(ip(a.map(|b| !b)), q),
            user,
        };
        prop_assert_eq!(Question::decode(&question.encode()), Some(question));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,300}") {
        let _ = Question::decode(&bytes);
        if let Some(answer) = Answer::read(&bytes) {
            prop_assert!(answer.workload.iter().all(|w| w.process.len() <= Workload::PROCESS));
        }
        let place = cgroup::parse(&text);
        prop_assert!(place.unit.len() <= text.len());
    }
}
