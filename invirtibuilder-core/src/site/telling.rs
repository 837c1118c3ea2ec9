//! Telling the hooks of what happened at a site.

use super::{Site, SiteError};
use crate::hooks::Standing;
use crate::stop::{Interrupt, Stop};

impl Site {
    /// Does some work, and meanwhile tells the hooks what is recorded; when it is done, also the rest, unless `stop` is
    /// set by then.
    pub fn while_telling<T>(&self, stop: &Stop, work: impl FnOnce() -> T) -> T {
        let Ok(done) = Stop::new() else {
            let result = work();
            self.outbox.deliver(stop);
            return result;
        };
        std::thread::scope(|scope| {
            scope.spawn(|| self.outbox.run(stop, &done));
            let result = work();
            done.set();
            result
        })
    }

    /// Tells the hooks what they have not heard of and is due.
    pub fn tell_hooks(&self, interrupt: &dyn Interrupt) {
        self.outbox.deliver(interrupt);
    }

    /// Returns how the hooks stand.
    ///
    /// # Errors
    /// They cannot be listed, or the audit log cannot be read.
    pub fn hooks(&self) -> Result<Vec<Standing>, SiteError> {
        Ok(self.outbox.standing()?)
    }
}
