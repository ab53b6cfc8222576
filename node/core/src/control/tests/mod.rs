mod audit;
mod enrolment;
mod external;
mod hearsay;
mod lies;
mod life;
mod nats;
mod sessions;
pub(crate) mod world;
