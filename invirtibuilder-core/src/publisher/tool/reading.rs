//! Reading what a suite serves, also while a program that has no by-hash changes it.

use super::served::{Served, ServedError};
use super::{ToolError, ToolPublisher};
use crate::names::Suite;

impl ToolPublisher {
    /// Reads from a suite; `None` if there is no such suite.
    ///
    /// What does not fit together is read once more when nobody is publishing, and after what a process that died
    /// left is put in order.
    pub(super) fn read<T>(
        &self,
        suite: &Suite,
        read: impl Fn(&Served) -> Result<T, ServedError>,
    ) -> Result<Option<T>, ToolError> {
        let directory = self.spec.directory.join(suite.as_str());
        let look = || Served::open(&directory, suite)?.map(|it| read(&it)).transpose();
        let found = match look() {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let Some(spec) = self.suites.get(suite) else { return Err(found.into()) };
        tracing::debug!(%suite, error = %found, "a publication is under way, or was interrupted");
        let lock = self.lock()?;
        self.settle(&self.place(spec, &lock))?;
        Ok(look()?)
    }
}
