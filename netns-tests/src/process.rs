//! Commands and daemons inside a namespace. A daemon dies with the value that holds it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// What a finished command left behind.
#[derive(Debug)]
pub struct Finished {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
    /// The output of a command that had to succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(
            self.status.success(),
            "`{}` failed ({}):\n{}{}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("not JSON ({e}): {text}"))
    }
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs to the end, at most 60 s (`timeout` then ends it with 124).
pub fn run(namespace: Option<&str>, args: &[&str], env: &[(&str, &str)]) -> Finished {
    run_within(60, namespace, args, env)
}

/// The same with another limit, seconds.
pub fn run_within(seconds: u32, namespace: Option<&str>, args: &[&str], env: &[(&str, &str)]) -> Finished {
    let out = command(namespace, &[&["timeout", "-k", "2", &seconds.to_string()], args].concat(), env)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{args:?}: {e}"));
    Finished {
        command: args.join(" "),
        status: out.status,
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

fn command(namespace: Option<&str>, args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = match namespace {
        Some(name) => {
            let mut c = Command::new("ip");
            c.args(["netns", "exec", name]).args(args);
            c
        }
        None => {
            let mut c = Command::new(args[0]);
            c.args(&args[1..]);
            c
        }
    };
    command.envs(env.iter().copied());
    command
}

/// A process that runs until it is told to stop; its output goes to a file that tests can read.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    pub log: PathBuf,
}

impl Daemon {
    pub fn start(namespace: Option<&str>, args: &[&str], env: &[(&str, &str)], log: &Path) -> Daemon {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let errors = file.try_clone().unwrap();
        let child = command(namespace, args, env)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|e| panic!("{args:?}: {e}"));
        Daemon { child, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
    /// `None` while it runs.
    pub fn finished(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        run(None, &["kill", &format!("-{signal}"), &pid], &[]);
    }
    /// Kills without warning and waits until it is gone.
    pub fn kill_9(mut self) {
        self.end();
    }
    /// Asks it to stop, then waits.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        crate::wait::eventually("the process ends after SIGTERM", std::time::Duration::from_secs(15), || {
            self.finished()
        })
    }
    /// The same for what it runs: a wrapper that passes no signal on.
    pub fn stop_child(mut self) -> ExitStatus {
        let script = format!("kill -TERM $(pgrep -P {})", self.pid());
        run(None, &["bash", "-c", &script], &[]).ok();
        crate::wait::eventually("the wrapper ends with its child", std::time::Duration::from_secs(15), || {
            self.finished()
        })
    }
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}
