//! From the text of `/proc/PID/cgroup` to a systemd unit and a container.
//!
//! One line a hierarchy, `number:controllers:path` (cgroups(7)); version 2 has one line, `0::path`. A unit is the innermost
//! path segment with a unit's suffix; a container is 64 hexadecimal digits that its engine wrote into a segment.

/// What a path of control groups says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `nginx.service`, `user@1000.service`, `run-u7.scope`; empty: none.
    pub unit: String,
    /// `docker:3f2a…` (12 digits), `podman:…`, `kubernetes:…`; empty: none.
    pub container: String,
}

const UNITS: [&str; 2] = [".service", ".scope"];
/// A text longer than this is not looked at.
const LONGEST: usize = 64 * 1024;
/// Digits of a container's id that are shown, as its engine shows them.
const SHOWN: usize = 12;

pub fn parse(text: &str) -> Place {
    let text = text.get(..LONGEST).unwrap_or(text);
    let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    // Version 2, else the hierarchy systemd keeps for itself, else whatever there is.
    let main = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        (number == "0" && controllers.is_empty() || controllers == "name=systemd").then_some(path)
    });
    let mut place = Place::default();
    if let Some(path) = main.clone().find(|path| *path != "/").or_else(|| paths().find(|path| *path != "/")) {
        place.unit = unit(path).unwrap_or_default();
    }
    place.container = paths().find_map(container).unwrap_or_default();
    if !place.container.is_empty() && engine_made(&place.unit) {
        // The engine's own scope says nothing that the container does not.
        place.unit = String::new();
    }
    place
}

fn unit(path: &str) -> Option<String> {
    let is_unit =
        |segment: &&str| UNITS.iter().any(|suffix| segment.len() > suffix.len() && segment.ends_with(suffix));
    // Of a user's session the service in it, not the manager round it.
    path.split('/').rfind(is_unit).map(str::to_owned)
}

fn engine_made(unit: &str) -> bool {
    ["docker-", "libpod-", "crio-", "cri-containerd-"].iter().any(|engine| unit.starts_with(engine))
}

fn container(path: &str) -> Option<String> {
    let kubernetes = path.contains("kubepods");
    path.split('/').rev().find_map(|segment| {
        let bare = segment.strip_suffix(".scope").unwrap_or(segment);
        let (engine, id) = match bare.rsplit_once('-') {
            Some((engine, id)) => (engine, id),
            None => ("", bare),
        };
        if !is_id(id) {
            return None;
        }
        let name = match engine {
            _ if kubernetes => "kubernetes",
            "docker" => "docker",
            "libpod" => "podman",
            "crio" | "cri-containerd" => "kubernetes",
            "" if path.contains("/docker/") => "docker",
            "" if path.contains("libpod") => "podman",
            _ => "container",
        };
        Some(format!("{name}:{}", id.get(..SHOWN)?))
    })
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
