mod enrolment;
mod lies;
mod life;
mod sessions;
mod world;
