use super::*;

fn receive_all(port: &Port, wanted: usize) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    let mut buffer = vec![0; MAX_RECEIVE];
    port.0.set_read_timeout(Some(std::time::Duration::from_millis(250))).expect("an option");
    for _ in 0..40 {
        if got.len() >= wanted {
            return got;
        }
        let Ok(batch) = port.receive(&mut buffer) else { continue };
        got.extend(buffer[..batch.len].chunks(batch.segment).map(<[u8]>::to_vec));
    }
    panic!("only {} of {wanted} datagrams came", got.len());
}

fn data(index: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[0] = 4;
    bytes[4..8].copy_from_slice(&(index << 8).to_le_bytes());
    bytes
}

fn addresses(sockets: &Sockets) -> Vec<SocketAddr> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, sockets.port()));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, sockets.port()));
    let mut all = vec![v4];
    all.extend(sockets.v6.is_some().then_some(v6));
    all
}

#[test]
fn every_datagram_of_a_batch_arrives_in_order_at_its_worker_over_both_families() {
    let (a, b) = (Sockets::open(0, 1).expect("bind"), Sockets::open(0, 2).expect("bind"));
    for to in addresses(&b) {
        let batch: Vec<u8> = (0..41).flat_map(|n| data(n * 2 + 1, if n < 40 { 1000 } else { 40 })).collect();
        a.send(&Transmit { to, bytes: &batch, segment: Some(1000), pieces: false }, Sender::Worker(0));
        let port = b.of_worker(1).find(|port| port.0.local_addr().unwrap().is_ipv4() == to.is_ipv4());
        let got = receive_all(port.expect("a socket"), 41);
        assert_eq!(got.concat(), batch);
        assert_eq!((got[0].len(), got[40].len()), (1000, 40));
    }
}

#[test]
fn what_is_not_data_never_meets_a_data_worker() {
    let (a, b) = (Sockets::open(0, 1).expect("bind"), Sockets::open(0, 2).expect("bind"));
    for to in addresses(&b) {
        for kind in [1u8, 2, 3, 0, 255] {
            a.send(&Transmit { to, bytes: &[kind; 64], segment: None, pieces: false }, Sender::Control);
        }
        let mine = |port: &&Port| port.0.local_addr().unwrap().is_ipv4() == to.is_ipv4();
        assert_eq!(receive_all(b.of_control().find(mine).expect("a socket"), 5).len(), 5);
        for worker in 0..2 {
            let port = b.of_worker(worker).find(mine).expect("a socket");
            assert!(port.try_receive(&mut [0; 64]).is_err(), "worker {worker}");
        }
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_flag() {
    let first = Sockets::open(0, 2).expect("bind");
    let error = Sockets::open(first.port(), 2).expect_err("refused");
    assert!(error.to_string().contains("--port"), "{error}");
}

#[test]
fn what_cannot_be_sent_is_counted() {
    let sockets = Sockets::open(0, 1).expect("bind");
    // Broadcast is not allowed on these sockets.
    let to = SocketAddr::from(([255, 255, 255, 255], 9));
    sockets.send(&Transmit { to, bytes: &[0; 100], segment: None, pieces: false }, Sender::Worker(0));
    sockets.send(&Transmit { to, bytes: &[0; 300], segment: Some(100), pieces: false }, Sender::Worker(0));
    let lost = sockets.counters().into_iter().find(|(name, _)| *name == "udp-lost").expect("a counter");
    assert_eq!(lost.1, 4);
}

fn at(seconds: u64) -> Mono {
    Mono::from_millis(1000 * seconds)
}

/// Without UDP checksums the kernel does not segment (EINVAL), as on a device that cannot compute them.
fn refuse(sockets: &Sockets, yes: bool) {
    let port = sockets.of_worker(0).find(|port| port.0.local_addr().unwrap().is_ipv4());
    option::set(&port.expect("a socket").0, Switch::NoChecksum, yes).expect("an option");
}

#[test]
fn what_was_refused_for_one_place_is_tried_again_there_and_never_given_up_elsewhere() {
    let count = |sockets: &Sockets, name: &str| {
        sockets.counters().into_iter().find(|(is, _)| *is == name).expect("a counter").1
    };
    let (a, b, c) = (Sockets::open(0, 1), Sockets::open(0, 1), Sockets::open(0, 1));
    let (a, b, c) = (a.expect("bind"), b.expect("bind"), c.expect("bind"));
    let batch: Vec<u8> = (0..5).flat_map(|_| data(1, 500)).collect();
    let send = |to: &Sockets, now: fn() -> Mono| {
        let there = addresses(to)[0];
        a.send_at(
            &Transmit { to: there, bytes: &batch, segment: Some(500), pieces: false },
            Sender::Worker(0),
            now,
        );
        let port = to.of_worker(0).find(|port| port.0.local_addr().unwrap().is_ipv4());
        assert_eq!(receive_all(port.expect("a socket"), 5).len(), 5, "nothing is lost");
        ["udp-unsegmented", "udp-places-unsegmented"].map(|name| count(&a, name))
    };
    assert_eq!(send(&b, || at(100)), [0, 0]);
    refuse(&a, true);
    assert_eq!(send(&b, || at(100)), [1, 1]);
    assert_eq!(send(&b, || at(159)), [1, 1], "it rests");
    assert_eq!(send(&b, || at(160)), [2, 1], "it is tried, and refused again");
    assert_eq!(send(&b, || at(279)), [2, 1], "it rests longer");
    refuse(&a, false);
    assert_eq!(send(&c, || at(279)), [2, 1], "another place was never refused");
    assert_eq!(send(&b, || at(280)), [2, 0], "it is segmented again");
    assert_eq!(count(&a, "udp-lost"), 0);
}
