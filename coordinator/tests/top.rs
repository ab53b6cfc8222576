//! `warren top` on a terminal: however it ends, the terminal is as it was, and who needs to do something is told what.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{Service, World, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// What `script` (util-linux) makes: `warren top` on a terminal of 100 columns, between two questions for its mode.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn top(world: &World) -> Terminal {
        let top = format!("sh -c 'echo pid=$$; exec {} top'", env!("CARGO_BIN_EXE_warren"));
        let words = format!("stty cols 100 rows 24; stty -g; {top}; echo exit=$?; stty -g");
        let mut command = Command::new("script");
        command.args(["-qfc", &words, "/dev/null"]).env("WARREN_SOCKET", world.socket());
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut said) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let seen = Arc::new(Mutex::new(String::new()));
        let (all, mut chunk) = (Arc::clone(&seen), [0; 4096]);
        std::thread::spawn(move || {
            while let Ok(read @ 1..) = said.read(&mut chunk) {
                all.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..read]));
            }
        });
        Terminal { script, keys, seen }
    }
    fn text(&self) -> String {
        self.seen.lock().unwrap().clone()
    }
    fn wait(&self, word: &str) {
        wait_for(word, || self.text().contains(word).then_some(()));
    }
    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }
    fn pid(&self) -> Pid {
        let text = self.text();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("pid=")).unwrap();
        Pid::from_raw(line.parse().unwrap()).unwrap()
    }

    /// Waits for the end; the exit code, and what stands below the picture.
    fn end(mut self) -> (i32, String) {
        self.wait("exit=");
        drop(self.keys);
        self.script.wait().unwrap();
        let modes = || -> Vec<String> {
            let text = self.seen.lock().unwrap().clone();
            let lines = text.lines().map(|line| line.trim().to_owned());
            lines.filter(|line| line.split(':').count() > 20).collect()
        };
        let modes = wait_for("both modes", || Some(modes()).filter(|modes| modes.len() == 2));
        assert_eq!(modes[0], modes[1], "raw mode is off again");
        let text = self.seen.lock().unwrap().clone();
        let (_, after) = text.split_once("\u{1b}[?1049h").expect("a screen of its own");
        let (_, below) = after.rsplit_once("\u{1b}[?1049l").expect("that is left again");
        let exit = below.split_once("exit=").and_then(|(_, exit)| exit.lines().next()).unwrap();
        (exit.trim().parse().unwrap(), below.to_owned())
    }
}

fn serve() -> (World, Service) {
    let world = World::new();
    let service = world.serve();
    (world, service)
}

#[test]
fn q_and_a_signal_leave_the_terminal_as_it_was() {
    let (world, _service) = serve();
    for leave in [None, Some(Signal::TERM), Some(Signal::INT), Some(Signal::HUP)] {
        let mut terminal = Terminal::top(&world);
        terminal.wait("prod");
        terminal.wait("leave");
        match leave {
            None => terminal.press("q"),
            Some(signal) => kill_process(terminal.pid(), signal).unwrap(),
        }
        assert_eq!(terminal.end().0, 0, "{leave:?}");
    }
}

#[test]
fn of_a_coordinator_that_hangs_or_is_gone_it_is_said_since_when_and_what_to_do() {
    let (world, service) = serve();
    let mut terminal = Terminal::top(&world);
    terminal.wait("leave");
    // It hangs: that is said, and keys are heard meanwhile.
    kill_process(Pid::from_child(&service.child), Signal::STOP).unwrap();
    terminal.wait("it is slow, or it hangs");
    terminal.press("?");
    terminal.wait("stand still, go on");
    terminal.press("?");
    service.kill();
    // Only what changes is drawn anew: of this sentence the part where nothing stood.
    terminal.wait("answers at");
    terminal.press("q");
    let (exit, below) = terminal.end();
    assert_eq!(exit, 3, "{below}");
    assert!(
        below.contains("error: the coordinator is not running") && below.contains("`warren serve`"),
        "{below}"
    );
}

#[test]
fn as_json_it_is_one_object_a_second_for_programs() {
    let (world, _service) = serve();
    let said = world.ok(&["--json", "top", "--count", "2"]);
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{said}");
    for line in lines {
        assert_eq!((&line["network"], &line["flows_total"]), (&"prod".into(), &0.into()), "{line}");
    }
}

#[test]
fn without_a_terminal_or_a_coordinator_it_is_said_on_a_plain_line() {
    let (world, service) = serve();
    let error = world.fails(2, &["top"]);
    assert!(error.contains("warren --json top"), "{error}");
    service.kill();
    let error = world.fails(3, &["top"]);
    assert!(error.contains("`warren serve`"), "{error}");
}
