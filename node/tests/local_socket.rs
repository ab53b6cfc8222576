//! The agent's local socket and other users of the host. A test binary of its own, because it starts a process: a fork
//! in the middle of another test would keep that test's locked files open for a moment.

use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use warren_node::socket::{Reply, serve};

/// Many users' idle connections must not keep the administrator from asking, or from stopping the agent.
#[tokio::test(flavor = "multi_thread")]
async fn other_users_cannot_keep_root_out_nor_ask_for_more_than_the_status() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("WARREN_ALLOW_SKIP").is_some(), "needs root, to be another user");
        return;
    }
    let dir = tempfile::tempdir().expect("directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let path = dir.path().join("s");
    let (_server, _knock, mut requests) = serve(&path).expect("serve");
    tokio::spawn(async move {
        while let Some(waiting) = requests.recv().await {
            let _ = waiting.reply.send(Reply::Ok(serde_json::Value::Null));
        }
    });
    let script = "use Socket; $| = 1; for (1..64) { socket(my $s, AF_UNIX, SOCK_STREAM, 0); \
                  connect($s, sockaddr_un($ARGV[0])); push @s, $s; } print \"held\\n\"; sleep 60;";
    let mut flood = Command::new("perl");
    flood.args(["-e", script]).arg(&path).uid(65534).gid(65534).stdout(Stdio::piped());
    let mut flood = flood.spawn().expect("perl");
    let mut line = String::new();
    std::io::BufReader::new(flood.stdout.take().expect("stdout")).read_line(&mut line).expect("held");
    let ask = tokio::task::spawn_blocking(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        stream.write_all(b"{\"do\":\"stop\"}\n").expect("ask");
        let mut answer = String::new();
        std::io::BufReader::new(stream).read_line(&mut answer).map(|_| answer)
    });
    let answer = ask.await.expect("join");
    let _ = flood.kill();
    let _ = flood.wait();
    assert!(answer.as_ref().is_ok_and(|text| text.contains("ok")), "{answer:?}");
}
