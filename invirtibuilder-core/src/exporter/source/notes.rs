//! What is said of where a source package comes from.

use super::{Export, shown};

impl Export<'_> {
    /// Notes the commit, what of the tree has no effect, and whether `Vcs-Git` names the repository that the commit is
    /// in.
    pub(super) fn note_origin(&mut self) {
        self.note(format!(
            "{} {} is made of commit {}",
            self.plan.package(),
            self.plan.version(),
            self.plan.commit()
        ));
        if !self.facts.without_effect.is_empty() {
            let names = self.facts.without_effect.join(", ");
            self.note(format!(
                "debian/source/options sets {names}, which has no effect: every file of the commit is in"
            ));
        }
        let control = self.facts.skeleton.get("debian/control").cloned().unwrap_or_default();
        let control = String::from_utf8_lossy(&control);
        let source = control.lines().take_while(|it| !it.trim().is_empty() || it.starts_with('#'));
        let field =
            source.filter_map(|it| it.split_once(':')).find(|it| it.0.eq_ignore_ascii_case("Vcs-Git"));
        let Some(url) = field.and_then(|it| it.1.split_whitespace().next()) else {
            self.note("debian/control has no Vcs-Git field that says where the commit can be had");
            return;
        };
        let package = self.plan.package();
        let own = self.repository.path().display().to_string();
        let hosted =
            self.exporter.hosted.iter().map(|it| it.replace("{package}", package.as_str())).chain([own]);
        if hosted.into_iter().all(|it| plain(&it) != plain(url)) {
            let shown: String = shown(url).chars().take(200).collect();
            self.note(format!(
                "Vcs-Git in debian/control is {shown}, which is not the repository that the commit is in"
            ));
        }
    }
}

/// Returns a URL without what makes no difference.
fn plain(url: &str) -> &str {
    url.trim_end_matches('/').trim_end_matches(".git")
}
