//! A terminal that is drawn on, and is given back however that ends: by being dropped, or by a panic.

use std::io;

use ratatui::DefaultTerminal;

use crate::cli::output;

pub struct Held(pub DefaultTerminal);

impl Held {
    /// Raw mode, and a screen of its own.
    pub fn take() -> io::Result<Held> {
        explain_panics();
        // If only half of it can be had, that half is given back.
        ratatui::try_init().map(Held).inspect_err(|_| give_back())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Twice would move the cursor back over what was said in between.
        if !std::thread::panicking() {
            give_back();
        }
    }
}

fn give_back() {
    // There is nobody left to tell: what follows is written to the same terminal.
    let _ = ratatui::try_restore();
}

/// Said on the terminal as it was, after it was given back: [`ratatui::try_init`] puts its own hook before this one.
fn explain_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        output::error_line(
            "error: `warren top` ended by a fault of its own; the network is not concerned. `warren --json top` says the same without a screen; please report the lines above",
        );
    }));
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const CHILD: &str = "WARREN_TOP_TEST_PANICS";

    /// Alone it does nothing: it is what the test below runs on a terminal.
    #[test]
    fn someone_who_panics_while_drawing() {
        if std::env::var_os(CHILD).is_some() {
            let _held = Held::take().expect("a terminal");
            panic!("while drawing");
        }
    }

    /// `script` (util-linux) is a terminal; `stty -g` says in what mode it is.
    #[test]
    fn a_panic_leaves_the_terminal_as_it_was_and_says_what_to_do() {
        let me = std::env::current_exe().expect("this program");
        let child = format!(
            "{} --exact cli::top::held::tests::someone_who_panics_while_drawing --nocapture",
            me.display()
        );
        let words = format!("stty -g; {child}; stty -g");
        let mut script = Command::new("script");
        script.args(["-qefc", &words, "/dev/null"]).env(CHILD, "1").stdin(Stdio::null());
        let said = script.output().expect("script, of util-linux");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let modes: Vec<&str> =
            said.lines().map(str::trim).filter(|line| line.split(':').count() > 20).collect();
        assert_eq!(modes.len(), 2, "{said}");
        assert_eq!(modes.first(), modes.last(), "raw mode is off again");
        assert_eq!(said.matches("\u{1b}[?1049l").count(), 1, "{said:?}");
        let (entered, left) = (said.find("\u{1b}[?1049h"), said.find("\u{1b}[?1049l"));
        let spoken = said.find("while drawing").zip(said.find("please report the lines above"));
        assert!(entered.is_some() && entered < left, "{said:?}");
        assert!(spoken.is_some_and(|(panic, hint)| left < Some(panic) && panic < hint), "{said:?}");
    }
}
