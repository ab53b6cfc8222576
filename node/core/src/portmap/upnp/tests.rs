use proptest::prelude::*;

use super::super::{Output, PortMap, Speech};
use super::*;

const AT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 9);
const OURS: u16 = 51_820;
const HOUR_MS: u64 = 3_600_000;

/// A home router, as it should be or not.
#[derive(Clone)]
struct Igd {
    kind: Kind,
    address: &'static str,
    /// Of others.
    taken: Vec<u16>,
    any_taken: bool,
    endless_only: bool,
    /// What is refused whatever it asks for, and how.
    refuses: Option<(&'static str, u16)>,
    location: String,
    base: String,
    control: String,
    /// Takes the place of every body.
    body: Option<Vec<u8>>,
    mapped: Vec<(u16, u32)>,
    calls: Vec<String>,
}

impl Igd {
    fn new(kind: Kind) -> Igd {
        Igd {
            kind,
            address: "203.0.113.7",
            taken: Vec::new(),
            any_taken: false,
            endless_only: false,
            refuses: None,
            location: format!("http://{AT}:5000/rootDesc.xml"),
            base: String::new(),
            control: "/ctl/IPConn".to_owned(),
            body: None,
            mapped: Vec::new(),
            calls: Vec::new(),
        }
    }

    fn found(&self) -> Vec<u8> {
        let location = &self.location;
        format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
             EXT:\r\nLOCATION: {location}\r\n\r\n"
        )
        .into_bytes()
    }

    fn description(&self) -> Vec<u8> {
        let (base, control, urn) = (&self.base, &self.control, self.kind.urn());
        format!(
            "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><URLBase>{base}</URLBase><device><deviceList><device>\
             <serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/ctl/L3F</controlURL>\
             </service></serviceList><deviceList><device><serviceList><service><serviceType>{urn}</serviceType>\
             <controlURL>{control}</controlURL></service></serviceList></device></deviceList></device></deviceList></device></root>"
        )
        .into_bytes()
    }

    fn answer(&mut self, request: &[u8]) -> Result<Response, Fault> {
        let request = String::from_utf8(request.to_vec()).unwrap();
        if request.starts_with("GET ") {
            let body = self.body.clone().unwrap_or_else(|| self.description());
            return Ok(Response { status: 200, body });
        }
        let value = |name: &str| {
            let (_, rest) = request.split_once(&format!("<{name}>"))?;
            rest.split_once('<')?.0.parse::<u32>().ok()
        };
        let action = ["GetExternalIPAddress", "AddAnyPortMapping", "AddPortMapping", "DeletePortMapping"]
            .into_iter()
            .find(|name| request.contains(&format!("#{name}\"")))
            .unwrap();
        self.calls.push(action.to_owned());
        let result =
            self.act(action, value("NewExternalPort").unwrap_or(0) as u16, value("NewLeaseDuration"));
        let (status, text) = match result {
            Ok(arguments) => (200, format!("<u:{action}Response>{arguments}</u:{action}Response>")),
            Err(code) => (
                500,
                format!(
                    "<s:Fault><detail><UPnPError><errorCode>{code}</errorCode></UPnPError></detail></s:Fault>"
                ),
            ),
        };
        let body = format!("<s:Envelope><s:Body>{text}</s:Body></s:Envelope>").into_bytes();
        Ok(Response { status, body: self.body.clone().unwrap_or(body) })
    }

    fn act(&mut self, action: &str, outside: u16, lease: Option<u32>) -> Result<String, u16> {
        if let Some((_, code)) = self.refuses.filter(|(refused, _)| *refused == action) {
            return Err(code);
        }
        let is_taken = self.any_taken || self.taken.contains(&outside);
        match action {
            "GetExternalIPAddress" => {
                Ok(format!("<NewExternalIPAddress>{}</NewExternalIPAddress>", self.address))
            }
            "DeletePortMapping" if !self.mapped.iter().any(|(port, _)| *port == outside) => Err(714),
            "DeletePortMapping" => {
                self.mapped.retain(|(port, _)| *port != outside);
                Ok(String::new())
            }
            _ if self.endless_only && lease != Some(0) => Err(725),
            "AddAnyPortMapping" => {
                let port = if is_taken { outside - 1 } else { outside };
                self.mapped.push((port, lease.unwrap()));
                Ok(format!("<NewReservedPort>{port}</NewReservedPort>"))
            }
            _ if is_taken => Err(718),
            _ => {
                self.mapped.push((outside, lease.unwrap()));
                Ok(String::new())
            }
        }
    }
}

fn map(now: Mono) -> PortMap {
    let mut map = PortMap::new([7; 32], OURS);
    map.set_gateway(Some(Gateway { at: AT, local: LOCAL }), now);
    map
}

/// Lets time go on in steps of 250 ms; who was sent something by UPnP. Nobody answers PCP or NAT-PMP.
fn live(map: &mut PortMap, igd: &mut Igd, now: &mut Mono, ms: u64) -> Vec<SocketAddrV4> {
    let mut asked = Vec::new();
    for _ in 0..ms / 250 {
        while let Some(output) = map.poll_output(*now) {
            match output {
                Output::Question(_) => {}
                Output::Search { to, .. } => {
                    asked.push(to);
                    map.handle_found((AT, 1900).into(), &igd.found(), *now);
                }
                Output::Exchange { id, at, request } => {
                    asked.push(at);
                    let response = igd.answer(&request);
                    map.handle_response(id, response, *now);
                }
            }
        }
        *now = now.plus_millis(250);
    }
    asked
}

fn lived(igd: &mut Igd, ms: u64) -> (PortMap, Mono, Vec<SocketAddrV4>) {
    let mut now = Mono::from_millis(60_000);
    let mut map = map(now);
    let asked = live(&mut map, igd, &mut now, ms);
    (map, now, asked)
}

#[test]
fn each_kind_of_gateway_maps_the_port_and_the_mapping_is_renewed_and_given_back() {
    for kind in [Kind::Ip2, Kind::Ip1, Kind::Ppp1] {
        let mut igd = Igd::new(kind);
        let (mut map, mut now, _) = lived(&mut igd, 20_000);
        let outside: SocketAddr = "203.0.113.7:51820".parse().unwrap();
        assert_eq!((map.outside(now), map.standing()), (Some(outside), (Speech::Upnp, None)), "{kind:?}");
        assert_eq!(igd.calls.len(), 2, "{kind:?}: {:?}", igd.calls);
        live(&mut map, &mut igd, &mut now, HOUR_MS);
        assert!((12..=14).contains(&igd.calls.len()), "every ten minutes: {:?}", igd.calls);
        let Some(Output::Exchange { request, .. }) = map.release(now) else { panic!("it is given back") };
        assert!(igd.answer(&request).is_ok() && igd.mapped.is_empty(), "{:?}", igd.mapped);
        assert!(map.release(now).is_none() && map.outside(now).is_none());
        assert!(live(&mut map, &mut igd, &mut now, HOUR_MS).is_empty());
    }
}

/// The gateway's own address first, the group only if that is silent; and PCP and NAT-PMP before both.
#[test]
fn the_gateway_itself_is_searched_before_the_group_and_little_is_asked_where_nobody_answers() {
    let (mut map, mut now) = (map(Mono::from_millis(60_000)), Mono::from_millis(60_000));
    let (mut searched, mut questions) = (Vec::new(), 0);
    for _ in 0..HOUR_MS / 250 {
        while let Some(output) = map.poll_output(now) {
            match output {
                Output::Question(_) => questions += 1,
                Output::Search { to, .. } => searched.push((questions, *to.ip())),
                Output::Exchange { .. } => panic!("nobody to talk to"),
            }
        }
        now = now.plus_millis(250);
    }
    assert_eq!(searched[..4], [(10, AT), (10, AT), (10, ssdp::GROUP), (10, ssdp::GROUP)]);
    assert!((40..=60).contains(&searched.len()), "{} an hour", searched.len());
    assert!(questions >= 50, "PCP and NAT-PMP have their turn each time: {questions}");
    assert!(map.standing().1.is_some_and(|why| why.contains("neither PCP, NAT-PMP nor UPnP")));
}

/// Version 1 may have no leases that end (error 725); then the agent takes it back. Version 2 always has.
#[test]
fn a_mapping_without_end_is_asked_for_only_of_version_1_and_only_if_there_is_no_other() {
    for (kind, mapped) in [(Kind::Ip1, true), (Kind::Ppp1, true), (Kind::Ip2, false)] {
        let mut igd = Igd { endless_only: true, ..Igd::new(kind) };
        let (mut map, now, _) = lived(&mut igd, 20_000);
        assert_eq!(map.outside(now).is_some(), mapped, "{kind:?}");
        assert_eq!(igd.mapped, if mapped { vec![(OURS, 0)] } else { Vec::new() });
        assert_eq!(map.release(now).is_some(), mapped);
    }
    let mut igd = Igd::new(Kind::Ip1);
    lived(&mut igd, 20_000);
    assert_eq!(igd.mapped, [(OURS, LIFETIME)], "it ends by itself");
}

#[test]
fn a_mapping_without_end_of_an_agent_that_was_killed_is_taken_back_by_the_next_start() {
    for asks in [true, false] {
        let mut igd = Igd { endless_only: true, ..Igd::new(Kind::Ip1) };
        let (map, mut now, _) = lived(&mut igd, 20_000);
        assert!(map.is_endless());
        let owed = map.owed();
        assert_eq!((owed.len(), &igd.mapped[..]), (1, &[(OURS, 0)][..]));
        igd.calls.clear();
        // The next agent has another port, and perhaps wants no mapping any more.
        let mut next = PortMap::new([8; 32], OURS + 1).owing(owed);
        if !asks {
            next = next.only_giving_back();
        }
        next.set_gateway(Some(Gateway { at: AT, local: LOCAL }), now);
        live(&mut next, &mut igd, &mut now, 20_000);
        assert_eq!(igd.calls[0], "DeletePortMapping", "first of all: {:?}", igd.calls);
        assert_eq!(igd.mapped, if asks { vec![(OURS + 1, 0)] } else { vec![] });
        assert_eq!(next.owed().len(), usize::from(asks), "only its own, if it has one");
        assert_eq!(next.release(now).is_some(), asks);
    }
}

#[test]
fn a_mapping_without_end_is_remembered_before_it_is_asked_for() {
    let mut igd = Igd { endless_only: true, ..Igd::new(Kind::Ip1) };
    let (mut map, mut now) = (map(Mono::from_millis(60_000)), Mono::from_millis(60_000));
    let mut asked = 0;
    for _ in 0..100 {
        while let Some(output) = map.poll_output(now) {
            match output {
                Output::Question(_) => {}
                Output::Search { .. } => map.handle_found((AT, 1900).into(), &igd.found(), now),
                Output::Exchange { id, request, .. } => {
                    let text = String::from_utf8(request.clone()).unwrap();
                    let endless = text.contains("<NewLeaseDuration>0</NewLeaseDuration>");
                    asked += u32::from(endless);
                    assert_eq!(map.owed().len(), usize::from(endless || asked > 0));
                    let response = igd.answer(&request);
                    // It was made, and nothing is heard of it.
                    map.handle_response(id, if endless { Err(Fault::Silent) } else { response }, now);
                }
            }
        }
        now = now.plus_millis(250);
    }
    assert_eq!(
        (asked, map.owed().len(), &igd.mapped[..]),
        (1, 0, &[][..]),
        "and taken back, since it may be there"
    );
}

#[test]
fn what_is_owed_to_one_gateway_is_asked_of_no_other_and_kept_until_that_one_is_back() {
    let mut igd = Igd { endless_only: true, ..Igd::new(Kind::Ip1) };
    let (map, mut now, _) = lived(&mut igd, 20_000);
    let mut next = PortMap::new([8; 32], OURS).owing(map.owed()).only_giving_back();
    next.set_gateway(Some(Gateway { at: OTHER, local: LOCAL }), now);
    assert!(live(&mut next, &mut igd, &mut now, 20_000).is_empty());
    let silent = |next: &mut PortMap, now: Mono| {
        let asked = std::iter::from_fn(|| next.poll_output(now)).count();
        asked + std::iter::from_fn(|| next.poll_output(now.plus_secs(60))).count()
    };
    next.set_gateway(Some(Gateway { at: AT, local: LOCAL }), now);
    assert_eq!((silent(&mut next, now), next.owed().len()), (1, 1), "asked once, and still owed");
    next.set_gateway(None, now);
    next.set_gateway(Some(Gateway { at: AT, local: LOCAL }), now);
    live(&mut next, &mut igd, &mut now, 20_000);
    assert_eq!((next.owed().len(), &igd.mapped[..]), (0, &[][..]));
}

#[test]
fn a_port_that_is_taken_is_left_to_whom_it_belongs() {
    for kind in [Kind::Ip2, Kind::Ip1] {
        let mut igd = Igd { taken: vec![OURS], ..Igd::new(kind) };
        let (map, now, _) = lived(&mut igd, 20_000);
        let port = map.outside(now).unwrap().port();
        assert!(
            port >= 1_024 && port != OURS && igd.mapped == [(port, LIFETIME)],
            "{kind:?}: {:?}",
            igd.mapped
        );
    }
    let mut igd = Igd { any_taken: true, ..Igd::new(Kind::Ip1) };
    let (map, now, _) = lived(&mut igd, 300_000);
    assert!(map.outside(now).is_none() && map.standing().1.is_some_and(|why| why.contains("taken")));
    assert_eq!(igd.calls.len(), 5, "its address once, four ports: {:?}", igd.calls);
}

#[test]
fn a_gateway_of_version_2_that_chooses_no_port_is_asked_for_one() {
    let mut igd = Igd { refuses: Some(("AddAnyPortMapping", 401)), ..Igd::new(Kind::Ip2) };
    let (map, now, _) = lived(&mut igd, 20_000);
    assert!(map.outside(now).is_some() && igd.mapped == [(OURS, LIFETIME)]);
}

#[test]
fn a_refusal_is_said_and_asked_again_much_later() {
    for (action, code, said) in [
        ("AddPortMapping", 606, "permit"),
        ("AddPortMapping", 728, "room"),
        ("AddPortMapping", 402, "refuses"),
        ("GetExternalIPAddress", 501, "no address"),
    ] {
        let mut igd = Igd { refuses: Some((action, code)), ..Igd::new(Kind::Ip1) };
        let (map, now, _) = lived(&mut igd, 300_000);
        let why = map.standing().1.unwrap();
        assert!(
            map.outside(now).is_none() && why.contains(said) && igd.calls.len() <= 2,
            "{code}: {why} {:?}",
            igd.calls
        );
    }
    for address in ["0.0.0.0", "", "fe80::1", "gateway.example"] {
        let mut igd = Igd { address, ..Igd::new(Kind::Ip1) };
        let (map, now, _) = lived(&mut igd, 20_000);
        assert!(map.outside(now).is_none() && igd.mapped.is_empty(), "{address}");
    }
}

#[test]
fn no_answer_leads_to_another_host() {
    let places = [
        format!("http://{OTHER}:5000/x"),
        format!("http://{AT}@{OTHER}/x"),
        format!("http://{AT}:80@{OTHER}/x"),
        format!("http://{AT}.example.org/x"),
        format!("https://{AT}/x"),
        format!("http://{AT}:0/x"),
        format!("http://{AT}:99999/x"),
        format!("//{OTHER}/x"),
        "http://[::ffff:192.168.1.1]/x".to_owned(),
        "http://3232235777/x".to_owned(),
        "http://0192.168.1.1/x".to_owned(),
        "http://localhost/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("http://{AT}/a b"),
        format!("http://{AT}/{}", "a".repeat(1_000)),
    ];
    for place in &places {
        for which in 0..3 {
            let mut igd = Igd::new(Kind::Ip1);
            match which {
                0 => igd.location = place.clone(),
                1 => igd.base = place.clone(),
                _ => igd.control = place.clone(),
            }
            let (map, now, asked) = lived(&mut igd, 60_000);
            assert!(asked.iter().all(|to| [AT, ssdp::GROUP].contains(to.ip())), "{place}: {asked:?}");
            // What is no URL at all is a path beside the description, at the gateway.
            let is_path = which == 2 && !place.contains("//");
            assert!(is_path || (map.outside(now).is_none() && igd.calls.is_empty()), "{which} {place}");
        }
    }
    let mut igd = Igd::new(Kind::Ip1);
    igd.base = format!("http://{AT}:81/base/");
    igd.control = "ctl".to_owned();
    let (map, now, asked) = lived(&mut igd, 20_000);
    assert!(map.outside(now).is_some() && asked.contains(&SocketAddrV4::new(AT, 81)));
}

#[test]
fn only_the_gateway_is_heard_and_only_while_it_is_asked() {
    let now = Mono::from_millis(60_000);
    let mut round = Round::new(Gateway { at: AT, local: LOCAL }, OURS, OURS, [1, 2, 3, 4], now);
    while round.poll(now).is_some() {}
    let igd = Igd::new(Kind::Ip1);
    round.handle_found((OTHER, 1900).into(), &igd.found(), now);
    round.handle_found((AT, 1900).into(), b"HTTP/1.1 200 OK\r\n", now);
    round.handle_found((AT, 1900).into(), b"NOTIFY * HTTP/1.1\r\n\r\n", now);
    assert!(round.is_searching() && round.poll(now).is_none());
    round.handle_response(Ok(Response { status: 200, body: igd.description() }), now);
    assert!(round.is_searching(), "nothing of that was asked");
    round.handle_found((AT, 49_152).into(), &igd.found(), now);
    assert!(!round.is_searching());
    assert!(matches!(round.poll(now), Some(Ask::Exchange { .. })));
    round.handle_found((AT, 1900).into(), &igd.found(), now);
    assert!(round.poll(now).is_none(), "one at a time");
    let mut map = map(now);
    map.handle_response(0, Ok(Response { status: 200, body: igd.description() }), now);
    map.handle_response(1, Ok(Response { status: 200, body: igd.description() }), now);
    assert!(map.outside(now).is_none());
}

#[test]
fn a_gateway_that_falls_silent_in_the_middle_ends_the_round() {
    let mut now = Mono::from_millis(60_000);
    let mut map = map(now);
    let igd = Igd::new(Kind::Ip1);
    let mut exchanges = 0;
    for _ in 0..400_000 / 250 {
        while let Some(output) = map.poll_output(now) {
            match output {
                Output::Search { .. } => map.handle_found((AT, 1900).into(), &igd.found(), now),
                Output::Exchange { id, .. } => {
                    exchanges += 1;
                    for other in [id - 1, id + 1] {
                        map.handle_response(
                            other,
                            Ok(Response { status: 200, body: igd.description() }),
                            now,
                        );
                    }
                }
                Output::Question(_) => {}
            }
        }
        now = now.plus_millis(250);
    }
    assert!(exchanges == 1 && map.standing().1.is_some_and(|why| why.contains("then does not answer")));
}

/// RFC 9112: whole, in chunks, or until the end; and in whatever pieces it comes.
#[test]
fn an_answer_is_read_whole_and_not_beyond_64_kib_or_to_another_place() {
    let whole = |bytes: &str| http::read(bytes.as_bytes(), true).map(|got| got.map(|got| got.body));
    let body = Ok(Some(b"abc".to_vec()));
    assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcdef"), body);
    assert_eq!(whole("HTTP/1.0 200 OK\r\n\r\nabc"), body);
    assert_eq!(
        whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n"),
        body
    );
    for (bytes, fault) in [
        ("HTTP/1.1 301 Moved\r\nLocation: http://192.168.1.9/\r\n\r\n", Fault::Elsewhere),
        ("HTTP/1.1 404 No\r\n\r\n", Fault::Status),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", Fault::NotHttp),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", Fault::NotHttp),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", Fault::NotHttp),
        ("HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\nabc", Fault::TooLong),
        ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nabc", Fault::TooLong),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", Fault::NotHttp),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na\r\n\r\n",
            Fault::TooLong,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", Fault::NotHttp),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Fault::NotHttp),
        ("HTTP/1.1 200", Fault::NotHttp),
        ("", Fault::NotHttp),
    ] {
        assert_eq!(whole(bytes), Err(fault), "{bytes}");
    }
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let long = format!("{head}{}", "a".repeat(http::LONGEST - head.len()));
    assert_eq!(http::read(long.as_bytes(), false), Ok(None));
    assert_eq!(http::read(format!("{long}a").as_bytes(), false), Err(Fault::TooLong));
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(9_000));
    assert_eq!(http::read(endless.as_bytes(), false), Err(Fault::NotHttp));
}

#[test]
fn bombs_of_xml_are_refused_and_cost_nothing() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    let walked = |text: &str| xml::walk(text.as_bytes(), |_, _| {});
    assert_eq!(walked(&nested(xml::DEEPEST)), Ok(()));
    assert_eq!(walked(&nested(xml::DEEPEST + 1)), Err(Fault::TooDeep));
    assert_eq!(walked(&"<a>".repeat(21_000)), Err(Fault::TooDeep));
    let laughs = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><l>&b;</l>";
    assert_eq!(walked(laughs), Err(Fault::Doctype));
    let outside = "<!DOCTYPE l [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><l>&a;</l>";
    assert_eq!(walked(outside), Err(Fault::Doctype));
    for bad in
        ["", "text", "<a>", "<a><b></a></b>", "</a>", "<a>&b;</a>", "<a>&#x110000;</a>", "<a", "<a>\u{0}<b"]
    {
        assert_eq!(walked(bad), Err(Fault::NotXml), "{bad:?}");
    }
    assert_eq!(xml::walk(b"<a>\xff</a>", |_, _| {}), Err(Fault::NotXml));
    let mut seen = Vec::new();
    let text =
        "\u{feff}<?xml version=\"1.0\"?><p:a x=\"1\"> 1&amp;<!-- no -->&#50;<b/><![CDATA[<3>]]> </p:a>";
    xml::walk(text.as_bytes(), |name, text| seen.push((name.to_owned(), text.to_owned()))).unwrap();
    assert_eq!(seen, [("b".to_owned(), String::new()), ("a".to_owned(), "1&2<3>".to_owned())]);
}

/// The best service first; those of another host, or beyond four, are left out.
#[test]
fn a_description_names_few_services_and_the_best_first() {
    let described = Place::absolute(&format!("http://{AT}:5000/igd/desc.xml?x=/y"), AT).unwrap();
    let service = |kind: Kind, control: &str| {
        format!(
            "<service><serviceType>{}</serviceType><controlURL>{control}</controlURL></service>",
            kind.urn()
        )
    };
    let of = |services: &str| {
        let text = format!("<root><device>{services}</device></root>");
        description::services(text.as_bytes(), &described, AT)
    };
    let mixed = service(Kind::Ppp1, "a")
        + &service(Kind::Ip1, "/b")
        + &service(Kind::Ip2, &format!("http://{OTHER}/c"));
    let found = of(&mixed).unwrap();
    let shown: Vec<_> = found.iter().map(|s| (s.kind, s.control.path())).collect();
    assert_eq!(shown, [(Kind::Ip1, "/b"), (Kind::Ppp1, "/igd/a")]);
    assert_eq!(of(&service(Kind::Ip1, "/b").repeat(100)).unwrap().len(), 4);
    assert_eq!(of(""), Err(Fault::NoService));
    assert_eq!(of(&service(Kind::Ip1, &format!("http://{OTHER}/c"))), Err(Fault::Elsewhere));
}

/// `answer` with `edits` of its bytes: changed, cut off, or said twice.
fn damaged(mut bytes: Vec<u8>, edits: &[(usize, u8, u8)]) -> Vec<u8> {
    for (at, to, how) in edits {
        let at = at % bytes.len().max(1);
        match how % 4 {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = *to),
        }
    }
    bytes
}

proptest! {
    /// Whatever it says: nobody else is asked, the round ends, and a mapping has a port and an end.
    #[test]
    fn a_gateway_that_says_anything_moves_nobody_elsewhere(
        edits in proptest::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..6),
        garbage in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
        which in 0u8..3,
    ) {
        let mut igd = Igd::new(Kind::Ip2);
        let mut now = Mono::from_millis(60_000);
        let mut map = map(now);
        let (mut exchanges, damage) = (0, |bytes| garbage.clone().unwrap_or_else(|| damaged(bytes, &edits)));
        for _ in 0..90_000 / 250 {
            while let Some(output) = map.poll_output(now) {
                match output {
                    Output::Question(_) => {}
                    Output::Search { .. } => {
                        let found = if which == 0 { damage(igd.found()) } else { igd.found() };
                        map.handle_found((AT, 1900).into(), &found, now);
                    }
                    Output::Exchange { id, at, request } => {
                        exchanges += 1;
                        prop_assert_eq!(*at.ip(), AT);
                        let mut answer = igd.answer(&request).unwrap();
                        if which == 1 || exchanges > 1 {
                            answer.body = damage(answer.body);
                        }
                        map.handle_response(id, Ok(answer), now);
                    }
                }
            }
            now = now.plus_millis(250);
        }
        prop_assert!(exchanges <= 12, "{}", exchanges);
        prop_assert!(map.outside(now).is_none_or(|place| place.port() != 0));
        prop_assert!(map.outside(now.plus_secs(u64::from(LIFETIME) + 1)).is_none());
        prop_assert!(!map.is_searching());
    }

    /// The judge: chunks put together by hand. In whatever pieces it comes, it is the same, and not before it is whole.
    #[test]
    fn a_body_in_chunks_is_the_body(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8), cut in any::<usize>()) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
        }
        bytes.extend(b"0\r\n\r\n");
        let whole = Response { status: 200, body: chunks.concat() };
        prop_assert_eq!(http::read(&bytes, false), Ok(Some(whole)));
        let part = &bytes[..cut % (bytes.len() - 4)];
        prop_assert!(!matches!(http::read(part, true), Ok(Some(_))), "{:?}", part);
        prop_assert_eq!(http::read(part, false), Ok(None));
    }
}
