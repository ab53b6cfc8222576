mod audit;
mod enrolment;
mod lies;
mod life;
mod sessions;
pub(crate) mod world;
