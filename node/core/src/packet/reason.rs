//! Why a packet did not pass. Each reason has a stable text and a slot for a counter.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            pub const ALL: &[DropReason] = &[$(DropReason::$name,)*];
            pub const COUNT: usize = DropReason::ALL.len();

            /// Stable kebab-case text, for counters and `why`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(DropReason::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    // --- the bytes
    Empty = "empty",
    NotIp = "not-ip",
    /// Shorter than its headers say.
    Truncated = "truncated",
    Ipv4HeaderLength = "ipv4-header-length",
    Ipv4Options = "ipv4-options",
    Ipv4Checksum = "ipv4-checksum",
    Ipv4Flags = "ipv4-flags",
    HopLimitZero = "hop-limit-zero",
    Jumbogram = "jumbogram",
    ExtensionHeader = "extension-header",
    BadSource = "bad-source-address",
    BadDestination = "bad-destination-address",
    /// Source and destination are the same.
    Land = "same-source-and-destination",
    TcpHeader = "tcp-header",
    TcpFlags = "tcp-flags",
    UdpLength = "udp-length",
    UdpChecksum = "udp-checksum-missing",
    PortZero = "port-zero",
    /// ICMP of the wrong family for its IP version.
    IcmpFamily = "icmp-family",
    IcmpType = "icmp-type",
    IcmpQuote = "icmp-error-quote",
    /// A first fragment without the whole transport header, or a later one over it.
    TinyFragment = "tiny-fragment",
    FragmentShape = "fragment-shape",
    // --- what the kernel said about a frame
    VnetHeader = "vnet-header",
    // --- the judge
    SourceNotMine = "source-not-mine",
    SourceNotPeers = "source-not-the-peers",
    DestinationNotMine = "destination-not-mine",
    DestinationNotPeers = "destination-not-the-peers",
    /// No grant allows it.
    Denied = "denied",
    NoFlow = "no-flow",
    /// The flow was cut by a policy change, an end of `until` or a revocation.
    FlowCut = "flow-cut",
    /// A SYN from the side that did not open the flow.
    SynFromResponder = "syn-from-responder",
    IcmpUnrelated = "icmp-error-unrelated",
    IcmpRate = "icmp-error-rate",
    FragmentOrphan = "fragment-without-first",
    FragmentOverlap = "fragment-overlap",
    TableFull = "flow-table-full",
    FragmentTableFull = "fragment-table-full",
}

impl DropReason {
    /// Slot for a counter, below [`DropReason::COUNT`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
