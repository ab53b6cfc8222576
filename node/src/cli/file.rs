//! The one file that brings a host up: `/etc/warren/node.toml`, or what `--config` and `WARREN_NODE_CONFIG` name.
//!
//! Its keys are the long flags of `warren-node up` without the dashes, and `token`. What is said on the command line wins over the
//! environment, that over the file, that over what is built in: the file's values become the defaults of the command line, so
//! that they are read, checked and described in one place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use toml::{Table, Value};
use zeroize::Zeroizing;

/// Read if it is there and no other file is named.
pub const DEFAULT: &str = "/etc/warren/node.toml";
const VARIABLE: &str = "WARREN_NODE_CONFIG";
const FLAG: &str = "--config";
/// Flags that mean nothing in a file.
const NOT_HERE: [&str; 5] = ["config", "help", "json", "token", "version"];
/// Commands whose flags the file may set; flags of all commands besides.
const COMMANDS: [&str; 3] = ["up", "run", "enroll"];
/// A settings file has a few hundred bytes.
const MAX_BYTES: u64 = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the settings file {} cannot be read: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the settings file {} is over {MAX_BYTES} bytes: it is not one", .path.display())]
    TooLarge { path: PathBuf },
    #[error("the settings file {} is not TOML: {why}", .path.display())]
    Malformed { path: PathBuf, why: String },
    #[error("the settings file {} has a key `{key}` that is none: its keys are `token` and the long flags of `warren-node up` without the dashes{near}", .path.display())]
    UnknownKey { path: PathBuf, key: String, near: String },
    #[error("the settings file {}: `{key}` must be {expected}", .path.display())]
    WrongKind { path: PathBuf, key: String, expected: &'static str },
    #[error("the settings file {}: {why}", .path.display())]
    Contradiction { path: PathBuf, why: &'static str },
}

/// What the file says.
#[derive(Default)]
pub struct Settings {
    /// The token itself, if the file holds it.
    pub token: Option<Zeroizing<String>>,
    values: BTreeMap<String, Vec<String>>,
}

/// Never the token.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("values", &self.values).finish_non_exhaustive()
    }
}

/// The file that the words or the environment name; the usual one if it is there.
pub fn chosen(words: impl Iterator<Item = OsString>, environment: Option<OsString>) -> Option<PathBuf> {
    let words: Vec<OsString> = words.take_while(|word| word != "--").collect();
    let after = |(at, word): (usize, &OsString)| match word.to_str() {
        Some(FLAG) => words.get(at + 1).map(PathBuf::from),
        Some(text) => text.strip_prefix(FLAG)?.strip_prefix('=').map(PathBuf::from),
        None => None,
    };
    let named = words.iter().enumerate().find_map(after);
    named.or(environment.filter(|path| !path.is_empty()).map(PathBuf::from))
}

/// The settings of this call. A file that was named must be there; the usual one need not be, and whoever may not read it
/// (a user who asks for the status) does without.
pub fn of_this_call(command: &Command) -> Result<Settings, FileError> {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let named = chosen(std::env::args_os().skip(1), std::env::var_os(VARIABLE));
    let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT));
    let runs = std::env::args_os().skip(1).any(|word| COMMANDS.iter().any(|command| word == *command));
    match read(&path, command) {
        Err(FileError::Unreadable { source, .. })
            if named.is_none()
                && (matches!(source.kind(), NotFound | NotADirectory)
                    || source.kind() == PermissionDenied && !runs) =>
        {
            Ok(Settings::default())
        }
        other => other,
    }
}

fn read(path: &Path, command: &Command) -> Result<Settings, FileError> {
    use std::io::Read;
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    warn_if_open(path, &file);
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    parse(path, &text, command)
}

/// A token is a secret; a mounted file may have modes that nobody here can change, so it is said and not refused.
pub fn warn_if_open(path: &Path, file: &std::fs::File) {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o044 != 0);
    if open {
        eprintln!(
            "warren-node: warning: {} can be read by other users of this host, and a token in it be used by them: chmod 600",
            path.display()
        );
    }
}

/// Every key is a flag of `command`, or `token`.
pub fn parse(path: &Path, text: &str, command: &Command) -> Result<Settings, FileError> {
    let malformed = |e: toml::de::Error| {
        // The error's own text shows the line, which may be the one with the token.
        let line =
            e.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
        FileError::Malformed { path: path.to_owned(), why: format!("line {line}: {}", e.message()) }
    };
    let table: Table = toml::from_str(text).map_err(malformed)?;
    let mut settings = Settings::default();
    for (key, value) in table {
        let wrong = |expected| FileError::WrongKind { path: path.to_owned(), key: key.clone(), expected };
        if key == "token" {
            let Value::String(token) = value else { return Err(wrong("a string")) };
            settings.token = Some(Zeroizing::new(token));
            continue;
        }
        let known =
            flags(command).find(|arg| arg.get_long() == Some(&key) && !NOT_HERE.contains(&key.as_str()));
        let Some(arg) = known else {
            let near =
                near(&key, command).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(FileError::UnknownKey { path: path.to_owned(), key, near });
        };
        let values = values(arg, value).map_err(wrong)?;
        settings.values.insert(key, values);
    }
    settings.check(path)?;
    Ok(settings)
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let of_commands = COMMANDS.iter().filter_map(|name| command.find_subcommand(name));
    command.get_arguments().chain(of_commands.flat_map(Command::get_arguments))
}

/// A key of which one character or the dashes are wrong.
fn near<'a>(key: &str, command: &'a Command) -> Option<&'a str> {
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let close = |known: &&str| {
        let (a, b) = (plain(key), plain(known));
        let differ = a.chars().zip(b.chars()).filter(|(a, b)| a != b).count() + a.len().abs_diff(b.len());
        differ <= 1
    };
    let known = flags(command).filter_map(Arg::get_long).filter(|known| !NOT_HERE.contains(known));
    known.into_iter().find(close)
}

fn values(arg: &Arg, value: Value) -> Result<Vec<String>, &'static str> {
    let one = |value| match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, Value::Boolean(on)) => Ok(vec![on.to_string()]),
        (ArgAction::SetTrue, _) => Err("true or false"),
        (ArgAction::Append, Value::Array(list)) => {
            list.into_iter().map(one).collect::<Option<_>>().ok_or("a list of strings")
        }
        (ArgAction::Append, value) => one(value).map(|text| vec![text]).ok_or("a list of strings"),
        (_, value) => one(value).map(|text| vec![text]).ok_or("a string or a number"),
    }
}

impl Settings {
    fn check(&self, path: &Path) -> Result<(), FileError> {
        let says = |why| Err(FileError::Contradiction { path: path.to_owned(), why });
        let on = |key: &str| self.values.get(key).is_some_and(|values| values == &["true"]);
        if self.token.is_some() && self.values.contains_key("token-file") {
            return says("it has a `token` and a `token-file`: leave one out");
        }
        if self.token.is_some() && on("remove-token") {
            return says(
                "`remove-token` removes the file that holds the token, and here that is this one: put the token into a file of its \
                 own and name it with `token-file`",
            );
        }
        if self.values.contains_key("name") && on("hostname") {
            return says("it has a `name` and `hostname = true`: leave one out");
        }
        Ok(())
    }

    /// The command line with the file's values for what is not said there.
    pub fn apply(&self, command: Command) -> Command {
        let with = |arg: Arg| match arg.get_long().and_then(|long| self.values.get(long)) {
            Some(values) => arg.default_values(values.iter().map(|value| kept(value))),
            None => arg,
        };
        let command = command.mut_args(with);
        COMMANDS.iter().fold(command, |command, name| command.mut_subcommand(name, |sub| sub.mut_args(with)))
    }
}

/// The library wants defaults that live as long as the program; there are a handful.
fn kept(value: &str) -> &'static str {
    Box::leak(value.to_owned().into_boxed_str())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::super::args::{Arguments, Command as Verb};
    use super::*;

    fn read(text: &str) -> Result<Settings, FileError> {
        parse(Path::new("node.toml"), text, &Arguments::command())
    }

    fn called(text: &str, words: &[&str]) -> Arguments {
        let command = read(text).expect("good settings").apply(Arguments::command());
        let matches = command.try_get_matches_from([&["warren-node"], words].concat()).expect("good words");
        Arguments::from_arg_matches(&matches).expect("arguments")
    }

    fn port(arguments: &Arguments) -> u16 {
        let Verb::Up { run, .. } = &arguments.command else { panic!("not up") };
        arguments.common.run_options(run).port
    }

    #[test]
    fn the_file_fills_in_what_the_command_line_leaves_out() {
        let text = "port = 7000\nhostname = true\nmetrics = [\"127.0.0.1:9586\"]\ninterface = \"wg7\"\nhold = true\n";
        let arguments = called(text, &["up"]);
        let Verb::Up { run, enrol } = &arguments.command else { panic!("not up") };
        let options = arguments.common.run_options(run);
        assert!(enrol.hostname && options.hold);
        assert_eq!((options.port, options.interface.as_str(), options.metrics.len()), (7000, "wg7", 1));
    }

    #[test]
    fn what_is_said_on_the_command_line_wins_over_the_file() {
        assert_eq!(port(&called("port = 7000\n", &["up", "--port", "7001"])), 7001);
        assert_eq!(port(&called("port = 7000\n", &["up"])), 7000);
        assert_eq!(port(&called("", &["up"])), 51820);
    }

    #[test]
    fn the_token_is_no_default_of_any_flag_and_never_shown() {
        let settings = read("token = \"warren1_secret\"\n").expect("good");
        assert_eq!(settings.token.as_ref().map(|token| token.as_str()), Some("warren1_secret"));
        assert!(!format!("{settings:?}").contains("secret"));
        let mut command = settings.apply(Arguments::command());
        let up = command.find_subcommand_mut("up").expect("up");
        assert!(!up.render_long_help().to_string().contains("secret"));
        let broken = read("token = \"warren1_secret\nport = 1\n").expect_err("no end of the string");
        assert!(!broken.to_string().contains("secret"), "{broken}");
    }

    #[test]
    fn a_key_that_is_none_is_an_error_with_the_near_one() {
        let error = read("tokn-file = \"x\"\n").expect_err("unknown").to_string();
        assert!(error.contains("`tokn-file`"), "{error}");
        let error = read("token_file = \"x\"\n").expect_err("unknown").to_string();
        assert!(error.contains("did you mean `token-file`?"), "{error}");
        for text in [
            "json = true",
            "config = \"x\"",
            "[up]\nport = 1",
            "port = true",
            "hold = \"yes\"",
            "metrics = [[1]]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    /// The block of the README's user data that cloud-init would write to the file.
    fn cloud_config(readme: &str) -> String {
        let block =
            readme.split("```yaml\n#cloud-config\n").nth(1).expect("a cloud-config").split("```").next();
        let lines = block.unwrap_or_default().lines().skip_while(|line| line.trim() != "content: |").skip(1);
        let indent = |line: &str| line.len() - line.trim_start().len();
        let content: Vec<&str> = lines.take_while(|line| indent(line) > 4).map(str::trim_start).collect();
        content.join("\n")
    }

    #[test]
    fn the_user_data_of_the_readme_is_a_settings_file_that_brings_a_host_up() {
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(&format!("path: {DEFAULT}")), "it is written where it is looked for");
        let text = cloud_config(readme);
        let settings = read(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(settings.token.as_ref().is_some_and(|token| token.starts_with("warren1_")), "{text}");
        let arguments = called(&text, &["up", "--unattended"]);
        let Verb::Up { enrol, .. } = &arguments.command else { panic!("not up") };
        assert!(enrol.hostname && enrol.unattended);
    }

    #[test]
    fn the_service_runs_what_the_command_line_knows() {
        let unit = include_str!("../../systemd/warren-node.service");
        let line =
            unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/")).expect("ExecStart");
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let Verb::Up { enrol, .. } = called("", &words).command else { panic!("not up") };
        assert!(enrol.unattended, "systemd would show a refused token every second");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for text in [
            "token = \"a\"\ntoken-file = \"b\"",
            "token = \"a\"\nremove-token = true",
            "name = \"a\"\nhostname = true",
        ] {
            assert!(matches!(read(text), Err(FileError::Contradiction { .. })), "{text}");
        }
    }

    #[test]
    fn the_file_is_named_by_a_word_or_the_environment() {
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>().into_iter();
        let file = |words, environment: Option<&str>| chosen(words, environment.map(OsString::from));
        assert_eq!(file(words(&["up", "--config", "a"]), Some("b")), Some("a".into()));
        assert_eq!(file(words(&["--config=a", "up"]), None), Some("a".into()));
        assert_eq!(file(words(&["up"]), Some("b")), Some("b".into()));
        assert_eq!(file(words(&["up"]), Some("")), None);
    }
}
