//! What is wrong with a gateway that was asked by UPnP.

/// The gateway's fault, whichever it is: nothing but it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody at the gateway's address answers a search.
    Nobody,
    /// It was found, and then gives no answer in time, or no connection.
    Silent,
    /// It names, or sends us to, a place that is not at the gateway itself.
    Elsewhere,
    /// Longer than [`super::http::LONGEST`].
    TooLong,
    NotHttp,
    /// Neither 200 nor a SOAP fault.
    Status,
    NotXml,
    TooDeep,
    /// A document type: nothing that a gateway says needs one, and entities are declared there.
    Doctype,
    /// No WAN connection among its services.
    NoService,
    /// It has no address outside.
    NoAddress,
    /// XML that is no answer to what was asked.
    NoAnswer,
    /// The error code of its answer (UPnP Device Architecture 1.1 section 3.2.5, WANIPConnection section 2.4).
    Refused(u16),
}

impl Fault {
    /// For `status`.
    pub fn text(self) -> &'static str {
        match self {
            Fault::Nobody => "the gateway answers neither PCP, NAT-PMP nor UPnP",
            Fault::Silent => "the gateway says that it speaks UPnP, and then does not answer",
            Fault::Elsewhere => "the gateway's UPnP leads to another host, which is not asked",
            Fault::TooLong => "the gateway's UPnP answer is longer than 64 KiB",
            Fault::NotHttp | Fault::Status | Fault::NotXml | Fault::TooDeep | Fault::Doctype => {
                "the gateway's UPnP answer cannot be read"
            }
            Fault::NoService => "the gateway's UPnP offers no port mapping",
            Fault::NoAddress => "the gateway has no address outside",
            Fault::NoAnswer => "the gateway's UPnP answers something else than what was asked",
            Fault::Refused(606) => "the gateway does not permit this host to map ports",
            Fault::Refused(718) => "every port that was asked for is taken at the gateway",
            Fault::Refused(728) => "the gateway has no room for a mapping",
            Fault::Refused(_) => "the gateway refuses a mapping",
        }
    }
}
