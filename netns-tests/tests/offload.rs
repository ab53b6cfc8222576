//! Kernels and devices that refuse an offload, from the beginning or suddenly: slower, counted, and nothing is lost.
//!
//! Newer kernels segment in software what a device cannot, so that nothing refuses any more. A kernel that does is played
//! by a library in front of the system calls of one agent: what it says then is what older kernels say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use warren_netns_tests::pair::Pair;
use warren_netns_tests::process::run;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::warren::Node;

/// While `FLAG`-write exists: no merged frame into a TUN (EINVAL). While `FLAG`-send exists: no `UDP_SEGMENT` (EIO, as
/// without checksum offload).
const REFUSING: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
static int refuses(const char *flag) { int kept = errno, yes = access(flag, F_OK) == 0; errno = kept; return yes; }
ssize_t sendmsg(int fd, const struct msghdr *m, int flags) {
    ssize_t (*real)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
    struct cmsghdr *c = m->msg_control ? CMSG_FIRSTHDR(m) : 0;
    /* The QUIC library does the same on a socket of its own; WireGuard's sends never wait. */
    if (c && c->cmsg_level == SOL_UDP && c->cmsg_type == 103 && (flags & MSG_DONTWAIT) && refuses(FLAG "-send")) { errno = EIO; return -1; }
    return real(fd, m, flags);
}
ssize_t writev(int fd, const struct iovec *v, int n) {
    ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    if (n > 1 && v[0].iov_len == 10 && ((char *)v[0].iov_base)[1] && refuses(FLAG "-write")) { errno = EINVAL; return -1; }
    return real(fd, v, n);
}
"#;

/// What loses a packet, or takes one for another.
const LOST: [&str; 4] = ["udp-lost", "tun-lost", "wg-not-authentic", "wg-duplicate"];

/// Gives the agent such a kernel; it refuses nothing yet.
fn refusing(node: &mut Node) {
    let (source, library) = (node.host.path("refusing.c"), node.host.path("refusing.so"));
    std::fs::write(&source, REFUSING).unwrap();
    let define = format!("-DFLAG=\"{}\"", node.host.path("refuse"));
    run(None, &["cc", "-shared", "-fPIC", "-O1", &define, "-o", &library, &source, "-ldl"], &[]).ok();
    node.preload(&library);
    node.restart();
    node.wait_enrolled();
}

#[test]
fn a_kernel_that_refuses_to_segment_or_merge_from_now_on_loses_nothing_and_is_shown() {
    let mut pair = Pair::on(Underlay::V4);
    [&mut pair.a, &mut pair.b].into_iter().for_each(refusing);
    pair.assert_bulk_completes("before");
    let refusals = [("write", "tun-offload-refused"), ("send", "udp-unsegmented")];
    assert_eq!(refusals.map(|(_, counter)| pair.count(counter)), [0, 0]);
    for (call, counter) in refusals {
        for node in [&pair.a, &pair.b] {
            std::fs::write(node.host.path(&format!("refuse-{call}")), "").unwrap();
        }
        pair.assert_bulk_completes(&format!("{call} refused"));
        for node in [&pair.a, &pair.b] {
            let refused = node.counter(counter);
            // Asked again and again it would cost two calls for each batch.
            assert!((1..100).contains(&refused), "{counter} of {}: {refused}", node.host.name);
            let shown = node.cli(&["counters"]).ok();
            assert!(shown.lines().any(|line| line.contains(counter)), "{shown}");
            assert_eq!(LOST.map(|name| node.counter(name)), [0; 4]);
        }
    }
}

#[test]
fn devices_that_lose_their_offloads_under_way_lose_no_byte() {
    let pair = Pair::on(Underlay::Both);
    pair.assert_bulk_completes("before");
    for (device, words) in [
        ("up0", &["tso", "off", "gso", "off", "tx-udp-segmentation", "off"][..]),
        ("up0", &["gro", "off", "rx-udp-gro-forwarding", "off"]),
        ("up0", &["tx", "off", "rx", "off"]),
        ("warren0", &["tso", "off", "gso", "off", "tx-udp-segmentation", "off"]),
        ("warren0", &["tx", "off"]),
    ] {
        for node in [&pair.a, &pair.b] {
            node.host.run(&[&["ethtool", "-K", device], words].concat()).ok();
        }
        pair.assert_bulk_completes(&format!("{device} {}", words.join(" ")));
    }
    assert_eq!(LOST.map(|name| pair.count(name)), [0; 4]);
}
