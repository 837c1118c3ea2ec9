//! The upstream tarballs that the site's archive serves.

use std::sync::Arc;

use crate::error::BoxError;
use crate::exporter::source::Origs;
use crate::names::Suite;
use crate::policy::Trust;
use crate::publisher::{Publisher, ServedFile};
use crate::states::BuildPlan;

/// Reads them in the suites of the site's pockets.
#[derive(Debug)]
pub(super) struct ServedOrigs {
    pub(super) publisher: Arc<dyn Publisher>,
    pub(super) suites: Vec<(Suite, Trust)>,
}

impl Origs for ServedOrigs {
    /// Its own suite first, then those that are trusted: an untrusted pocket takes no name away from others (rule P4).
    fn held(&self, plan: &BuildPlan) -> Result<Vec<ServedFile>, BoxError> {
        let own = plan.suite();
        let others = self.suites.iter().filter(|it| it.1 == Trust::Full && it.0 != *own).map(|it| &it.0);
        let mut files = Vec::new();
        for suite in std::iter::once(own).chain(others) {
            files.extend(self.publisher.files(suite, plan.package())?);
        }
        Ok(files)
    }
}

#[cfg(all(test, feature = "mocks"))]
mod tests {
    use super::*;
    use crate::conformance::exporter::plan;
    use crate::policy::PocketSpec;
    use crate::publisher::MockPublisher;

    #[test]
    fn an_untrusted_pocket_gives_its_tarballs_to_nobody_else() {
        let mut publisher = MockPublisher::new();
        publisher.expect_files().returning(|suite, package| {
            let path = format!("/pool/{suite}/{package}_1.0.orig.tar.gz").into();
            Ok(vec![ServedFile { path, sha256: String::new() }])
        });
        let suites = [("stable", Trust::Full), ("wild", Trust::None), ("unstable", Trust::Full)];
        let suites = suites.into_iter().map(|(suite, trust)| (suite.parse().unwrap(), trust)).collect();
        let origs = ServedOrigs { publisher: Arc::new(publisher), suites };
        let of = |suite: &str| -> Vec<String> {
            let commit = "1".repeat(40).parse().unwrap();
            let plan = plan(&"hello".parse().unwrap(), &"1.0-1".parse().unwrap(), &commit);
            let pocket = PocketSpec { suite: suite.parse().unwrap(), ..plan.pocket().clone() };
            let plan = BuildPlan::for_tests(plan.job().clone(), pocket, plan.version().clone(), None);
            let held = origs.held(&plan).unwrap();
            held.iter()
                .map(|it| it.path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(of("stable"), ["stable", "unstable"]);
        assert_eq!(of("unstable"), ["unstable", "stable"]);
        assert_eq!(of("wild"), ["wild", "stable", "unstable"]);
    }
}
