//! What a crowd took is the host's again soon after it has gone.

use std::time::Duration;

/// How often.
const GIVE_BACK: Duration = Duration::from_secs(15);

/// Never returns.
pub async fn give_back() {
    let mut every = tokio::time::interval(GIVE_BACK);
    loop {
        every.tick().await;
        // Where it may take a moment and nobody waits.
        let _ = tokio::task::spawn_blocking(warren_kernel::memory::give_back).await;
    }
}
