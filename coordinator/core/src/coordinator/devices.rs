//! Devices without an agent, and whether the files they were given still say what is true.

use warren_config::time::UnixTime;
use warren_wire::id::{NodeId, WgKey};

use super::Coordinator;
use crate::directory::Node;
use crate::external::{self, Device, ExternalOffer, ExternalRow, FileDraft, StaleFile, WantedPeer};
use crate::refusal::Refusal;

impl Coordinator {
    pub(super) fn devices(&self) -> impl Iterator<Item = (&Node, &Device)> {
        self.state.directory.alive().filter_map(|node| Some((node, node.device.as_ref()?)))
    }

    pub(super) fn external_row(&self, node: &Node, device: &Device) -> ExternalRow {
        let file = device.file.as_ref();
        let stale = if node.is_live() { self.stale(device, node) } else { Vec::new() };
        ExternalRow {
            endpoint: device.endpoint,
            issued: file.map(|file| file.at),
            peers: file.map(|file| file.peers.clone()).unwrap_or_default(),
            stale,
        }
    }

    fn stale(&self, device: &Device, node: &Node) -> Vec<String> {
        let name = |id: &NodeId| {
            let named = self.state.directory.get(id).map(|node| node.member.name().to_string());
            named.unwrap_or_else(|| id.to_string())
        };
        external::stale(device.file.as_ref(), &self.wanted_peers(node), name)
    }

    pub(super) fn stale_files(&self) -> Vec<StaleFile> {
        let stale = |(node, device): (&Node, &Device)| {
            let why = self.stale(device, node);
            let (issued, name) = (device.file.as_ref().map(|file| file.at), node.member.name().to_string());
            (!why.is_empty()).then(|| StaleFile { node: node.id(), name, issued, why })
        };
        self.devices().filter_map(stale).collect()
    }

    /// Nodes that a grant joins with a device. Another device is none of them: between two nobody would enforce anything.
    fn joined_with(&self, device: &Node) -> impl Iterator<Item = &Node> {
        let peers = self.distribution.roster().peers(&device.id());
        let nodes = peers.into_iter().filter_map(|peer| self.state.directory.live(&peer));
        nodes.filter(|node| !node.member.is_external())
    }

    fn wanted_peers(&self, device: &Node) -> Vec<WantedPeer> {
        let wanted = |node: &Node| {
            let key = external::first_key(&node.member).ok()?;
            let endpoints = self.endpoints.of(&node.id()).to_vec();
            Some(WantedPeer { node: node.id(), name: node.member.name().to_string(), key, endpoints })
        };
        self.joined_with(device).filter_map(wanted).collect()
    }

    /// What a device with this key would get.
    pub fn external_offer(&self, key: &WgKey, name: &str, now: UnixTime) -> Result<ExternalOffer, Refusal> {
        external::offer(&self.state, self.offers.leased(), key, name, now)
    }

    /// What the next file of a device is made of.
    pub fn file_draft(&self, who: &str) -> Result<FileDraft, Refusal> {
        let node = self.find(who)?;
        if !node.is_live() {
            return Err(Refusal::NodeRevoked { node: node.id() });
        }
        let device = node.device.as_ref().ok_or(Refusal::NotExternal { node: node.id() })?;
        let place = |peer: &Node| self.endpoints.of(&peer.id()).first().copied();
        let peers = self.joined_with(node).map(|peer| (peer.record.clone(), place(peer))).collect();
        Ok(FileDraft { record: node.record.clone(), endpoint: device.endpoint, peers })
    }
}
