//! Bringing Git and the archive together again, for the frontends.

use super::{Site, SiteError};
use crate::audit::{Entry, Happened};
use crate::names::{PocketName, Principal};
use crate::pipeline::RollbackError;
use crate::repair::{Left, Repair};

impl Site {
    /// Mends what can be mended of one pocket or all, or only says what that would be; and what is left.
    ///
    /// # Errors
    /// It is not permitted, jobs are being published there, or a repair failed; those before it are done.
    pub fn repair(
        &self,
        pocket: Option<&PocketName>,
        by: &Principal,
        is_trial: bool,
    ) -> Result<(Vec<Repair>, Vec<Left>), SiteError> {
        let (mut done, mut left) = (Vec::new(), Vec::new());
        for name in self.pipeline.pockets.keys().filter(|it| pocket.is_none_or(|wanted| wanted == *it)) {
            let found = self.pipeline.plan_repair(name, by).and_then(|planned| {
                let has_work = !is_trial && !planned.0.is_empty();
                if has_work { self.pipeline.repair(&*self.queue, name, by) } else { Ok(planned) }
            });
            match found {
                Ok((more, rest)) => {
                    done.extend(more);
                    left.extend(rest);
                }
                Err(RollbackError::NotPermitted(reason)) => {
                    let entry = Entry {
                        pocket: Some(name.clone()),
                        principal: Some(by.clone()),
                        ..Entry::new(Happened::Denied)
                    };
                    return Err(self.deny(entry.with("action", "repair"), reason));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let remedy =
            "restore the file from a copy of the archive; it cannot be made again with the same signature";
        for difference in self.verify()? {
            let is_provenance = matches!(difference.kind, crate::verify::Kind::NoProvenance { .. });
            if is_provenance && pocket.is_none_or(|it| *it == difference.pocket) {
                left.push(Left { difference, remedy: remedy.to_owned() });
            }
        }
        Ok((done, left))
    }
}
