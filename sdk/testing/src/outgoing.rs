//! Outgoing: what guests ask the outside, answered by the test.

use dormouse::egress::{Reply, Sent};

use crate::host::TestHost;

impl TestHost {
    /// Answers what the app asks the outside by this route with these replies, one after
    /// the other; the last one stays. A newer route goes before an older one.
    ///
    /// A route is `[METHOD ]HOST[:PORT][/PATH]`, such as `POST api.example.com/users/*`:
    /// in host and path `*` is any text without `/`, `**` any text. The app's manifest
    /// must allow the host, as it must in production. Nothing is ever sent: a request
    /// that no route fits fails in the guest, and the log says what to write.
    ///
    /// # Panics
    /// When the route cannot be read, or there is no reply.
    #[track_caller]
    pub fn script(&self, route: &str, replies: impl IntoIterator<Item = Reply>) {
        let added = self.outside().answer(route, replies);
        added.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Answers requests by this route with what `make` says to each.
    ///
    /// # Panics
    /// When the route cannot be read.
    #[track_caller]
    pub fn script_with(&self, route: &str, make: impl Fn(&Sent) -> Reply + Send + Sync + 'static) {
        let added = self.outside().answer_with(route, make);
        added.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Every request that left for the outside so far, in order; also those before a
    /// crash, and those that no route answered.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.settle();
        self.outside().sent()
    }
}
