//! An IAM account in memory for tests: seeded and changed while a test runs, also between two calls or two pages of one
//! flow; counts calls, fails or hangs by action or by name. Answers as IAM does where the directory depends on it:
//! people, groups and keys have ids that never change and names that may, `GetUser` knows tags and listings do not, an
//! unknown name is `NoSuchEntity`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use keymaker_aws::{Action, Ask, AwsCallError, CallerIdentity, OutageCause, Replaced};

use keymaker_core::issuers_file::POINT;

use super::questions::{GroupWithMembers, Iam, IamGroup, IamKey, IamRole, IamUser};

/// See [`IamFake::set_issuer_keys`].
pub const FETCH: Action = Action::named("fetching the issuer's keys");

/// The fake. A clone is a second handle on the same account.
#[derive(Clone)]
pub struct IamFake {
    account: Rc<RefCell<Account>>,
    between_calls: Rc<RefCell<Option<Change>>>,
}

/// What happens in IAM before a call, or before a later page of one, is answered.
type Change = Box<dyn FnMut(&IamFake, Action)>;

struct Account {
    caller_arn: String,
    /// By `UserId`.
    users: BTreeMap<String, IamUser>,
    /// By `GroupId`.
    groups: BTreeMap<String, IamGroup>,
    /// `GroupId` and `UserId`.
    members: BTreeSet<(String, String)>,
    /// By `UserId`.
    keys: BTreeMap<String, Vec<(IamKey, String)>>,
    roles: BTreeMap<String, IamRole>,
    faults: BTreeMap<(Action, Option<String>), Fault>,
    calls: BTreeMap<Action, usize>,
    page: usize,
    /// Whether users are found by the case of their names only.
    goes_by_case: bool,
    replaced: Option<Replaced>,
    issuer: Option<String>,
    issuer_keys: BTreeMap<String, Vec<String>>,
}

#[derive(Clone)]
enum Fault {
    Error(AwsCallError),
    Hang,
}

impl IamFake {
    /// An empty account 123456789012, asked as role `host` by instance i-0123456789abcdef0.
    pub fn new() -> Self {
        let caller_arn = "arn:aws:sts::123456789012:assumed-role/host/i-0123456789abcdef0".to_owned();
        let account = Account {
            caller_arn,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            members: BTreeSet::new(),
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            faults: BTreeMap::new(),
            calls: BTreeMap::new(),
            page: 1000,
            goes_by_case: true,
            replaced: None,
            issuer: None,
            issuer_keys: BTreeMap::new(),
        };
        let fake = Self {
            account: Rc::new(RefCell::new(account)),
            between_calls: Rc::default(),
        };
        fake.set_role("host", None);
        fake
    }

    /// From now on the metadata service says this of the role as which this handle asks.
    pub fn set_replaced(&self, replaced: Option<Replaced>) {
        self.account.borrow_mut().replaced = replaced;
    }

    /// From now on this is the issuer of the account's tokens.
    pub fn set_issuer(&self, issuer: Option<&str>) {
        self.account.borrow_mut().issuer = issuer.map(str::to_owned);
    }

    /// From now on this issuer shows keys of these names.
    pub fn set_issuer_keys(&self, issuer: &str, kids: &[&str]) {
        let kids = kids.iter().map(|kid| (*kid).to_owned()).collect();
        self.account.borrow_mut().issuer_keys.insert(issuer.to_owned(), kids);
    }

    /// Makes the answers those of another account or caller.
    pub fn set_caller(&self, arn: &str) {
        self.account.borrow_mut().caller_arn = arn.to_owned();
    }

    /// Makes a role, or gives it another description.
    pub fn set_role(&self, name: &str, description: Option<&str>) {
        let role = IamRole {
            id: format!("AROA{}", name.to_uppercase()),
            arn: format!("arn:aws:iam::123456789012:role/{name}"),
            description: description.map(str::to_owned),
        };
        self.account.borrow_mut().roles.insert(name.to_owned(), role);
    }

    /// From now on this happens before each call and each page is answered.
    pub fn between_calls(&self, change: impl FnMut(&IamFake, Action) + 'static) {
        *self.between_calls.borrow_mut() = Some(Box::new(change));
    }

    /// From now on nothing happens between two calls.
    pub fn stand_still(&self) {
        *self.between_calls.borrow_mut() = None;
    }

    /// From now on a user is found by a name in other case, too. (AWS documents that names are unique without regard to case, and not
    /// how calls find them.)
    pub fn go_without_case(&self) {
        self.account.borrow_mut().goes_by_case = false;
    }

    /// So many entries to a page of a listing; 1,000 unless said otherwise, as IAM gives at most.
    pub fn set_page(&self, entries: usize) {
        self.account.borrow_mut().page = entries;
    }

    /// Makes a user under the path `/`; a user who has the name is deleted first.
    pub fn add_user(&self, name: &str, id: &str, created: u64) {
        self.delete_user(name);
        self.add_user_anew(name, id, created);
    }

    /// The same, of a name that nobody has.
    pub fn add_user_anew(&self, name: &str, id: &str, created: u64) {
        let user = IamUser {
            id: id.into(),
            name: name.into(),
            path: "/".into(),
            created,
            tags: Some(Vec::new()),
            groups: None,
        };
        self.account.borrow_mut().users.insert(id.to_owned(), user);
    }

    /// Gives the user `from` the name `to`, which nobody has.
    pub fn rename_user(&self, from: &str, to: &str) {
        assert!(self.account.borrow().user_named(to).is_none(), "{to} exists");
        self.change_user(from, |user| user.name = to.into());
    }

    /// Gives each of two users the other's name.
    pub fn swap_users(&self, one: &str, other: &str) {
        self.rename_user(one, "swapping");
        self.rename_user(other, one);
        self.rename_user("swapping", other);
    }

    /// Changes a user in place: name, path, tags, anything but the id.
    pub fn change_user(&self, name: &str, change: impl FnOnce(&mut IamUser)) {
        let mut account = self.account.borrow_mut();
        let id = account.user_named(name).expect("a user that the test made").id.clone();
        account.users.entry(id).and_modify(change);
    }

    /// Deletes a user with keys and memberships.
    pub fn delete_user(&self, name: &str) {
        let mut account = self.account.borrow_mut();
        let Some(id) = account.user_named(name).map(|user| user.id.clone()) else {
            return;
        };
        account.users.remove(&id);
        account.keys.remove(&id);
        account.members.retain(|(_, user)| *user != id);
    }

    /// Makes a group under the path `/`; whichever has the name is deleted first.
    pub fn add_group(&self, name: &str, id: &str, created: u64) {
        self.delete_group(name);
        let group = IamGroup {
            id: id.into(),
            name: name.into(),
            path: "/".into(),
            created,
        };
        self.account.borrow_mut().groups.insert(id.to_owned(), group);
    }

    /// Gives the group `from` the name `to`, which none has.
    pub fn rename_group(&self, from: &str, to: &str) {
        let mut account = self.account.borrow_mut();
        assert!(account.group_named(to).is_none(), "{to} exists");
        let id = account
            .group_named(from)
            .expect("a group that the test made")
            .id
            .clone();
        account.groups.entry(id).and_modify(|group| group.name = to.into());
    }

    /// Gives each of two groups the other's name.
    pub fn swap_groups(&self, one: &str, other: &str) {
        self.rename_group(one, "swapping");
        self.rename_group(other, one);
        self.rename_group("swapping", other);
    }

    /// Deletes a group with its memberships.
    pub fn delete_group(&self, name: &str) {
        let mut account = self.account.borrow_mut();
        let Some(id) = account.group_named(name).map(|group| group.id.clone()) else {
            return;
        };
        account.groups.remove(&id);
        account.members.retain(|(group, _)| *group != id);
    }

    /// Puts a user into a group.
    pub fn join(&self, user: &str, group: &str) {
        let mut account = self.account.borrow_mut();
        let member = account.membership(user, group);
        account.members.insert(member);
    }

    /// Takes a user out of a group.
    pub fn leave(&self, user: &str, group: &str) {
        let mut account = self.account.borrow_mut();
        let member = account.membership(user, group);
        account.members.remove(&member);
    }

    /// Uploads an active key.
    pub fn add_key(&self, user: &str, key_id: &str, body: &str) {
        let key = IamKey {
            id: key_id.to_owned(),
            active: true,
            uploaded: 0,
        };
        self.with_keys(user, |keys| keys.push((key, body.to_owned())));
    }

    /// Makes a key Active or Inactive.
    pub fn set_key_active(&self, user: &str, key_id: &str, active: bool) {
        self.with_keys(user, |keys| {
            keys.iter_mut()
                .filter(|(key, _)| key.id == key_id)
                .for_each(|(key, _)| key.active = active);
        });
    }

    /// Deletes a key.
    pub fn delete_key(&self, user: &str, key_id: &str) {
        self.with_keys(user, |keys| keys.retain(|(key, _)| key.id != key_id));
    }

    fn with_keys(&self, user: &str, change: impl FnOnce(&mut Vec<(IamKey, String)>)) {
        let mut account = self.account.borrow_mut();
        let id = account.user_named(user).expect("a user that the test made").id.clone();
        change(account.keys.entry(id).or_default());
    }

    /// Every call of this action fails with this error until `mend`.
    pub fn fail(&self, error: AwsCallError) {
        self.account
            .borrow_mut()
            .faults
            .insert((error.action(), None), Fault::Error(error));
    }

    /// Calls of this action for this user, group or role name fail until `mend`.
    pub fn fail_for(&self, name: &str, error: AwsCallError) {
        self.account
            .borrow_mut()
            .faults
            .insert((error.action(), Some(name.to_owned())), Fault::Error(error));
    }

    /// Every call of this action is a timeout until `mend`.
    pub fn time_out(&self, action: Action) {
        self.fail(AwsCallError::Outage {
            action,
            cause: OutageCause::Timeout,
        });
    }

    /// Every call of this action is denied until `mend`.
    pub fn deny(&self, action: Action) {
        self.fail(AwsCallError::AccessDenied {
            action,
            message: "no policy allows it".into(),
        });
    }

    /// Every call of this action never returns, until `mend`.
    pub fn hang(&self, action: Action) {
        self.account.borrow_mut().faults.insert((action, None), Fault::Hang);
    }

    /// Takes all faults of an action back.
    pub fn mend(&self, action: Action) {
        self.account
            .borrow_mut()
            .faults
            .retain(|(faulty, _), _| *faulty != action);
    }

    /// How often this action was called, failures included.
    pub fn calls(&self, action: Action) -> usize {
        self.account.borrow().calls.get(&action).copied().unwrap_or(0)
    }

    /// Everybody: `UserIds` and names.
    pub fn users(&self) -> Vec<(String, String)> {
        let account = self.account.borrow();
        let users = account.users.values();
        users.map(|user| (user.id.clone(), user.name.clone())).collect()
    }

    /// `GroupIds` and names.
    pub fn groups(&self) -> Vec<(String, String)> {
        let account = self.account.borrow();
        let groups = account.groups.values();
        groups.map(|group| (group.id.clone(), group.name.clone())).collect()
    }

    /// `GroupIds` and `UserIds`.
    pub fn members(&self) -> BTreeSet<(String, String)> {
        self.account.borrow().members.clone()
    }

    /// The ids of a user's keys that are active.
    pub fn active_keys(&self, user_id: &str) -> BTreeSet<String> {
        let account = self.account.borrow();
        let keys = account.keys.get(user_id).into_iter().flatten();
        keys.filter(|(key, _)| key.active)
            .map(|(key, _)| key.id.clone())
            .collect()
    }

    /// Takes all faults back.
    pub fn mend_all(&self) {
        self.account.borrow_mut().faults.clear();
    }

    /// How often anything was called.
    pub fn all_calls(&self) -> usize {
        self.account.borrow().calls.values().sum()
    }

    /// Lets happen what happens between two calls, counts the call, then fails or hangs as the test asked.
    async fn enter(&self, action: Action, name: Option<&str>) -> Result<(), AwsCallError> {
        let change = self.between_calls.borrow_mut().take();
        if let Some(mut change) = change {
            change(self, action);
            self.between_calls.borrow_mut().get_or_insert(change);
            // Anybody else who is asking goes on.
            tokio::task::yield_now().await;
        }
        let fault = {
            let mut account = self.account.borrow_mut();
            *account.calls.entry(action).or_default() += 1;
            let for_name = name.and_then(|name| account.faults.get(&(action, Some(name.to_owned()))));
            for_name.or_else(|| account.faults.get(&(action, None))).cloned()
        };
        match fault {
            None => Ok(()),
            Some(Fault::Error(error)) => Err(error),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    /// A listing page by page, each from the account as it is by then, in the order of names.
    async fn pages<T>(
        &self,
        action: Action,
        name: Option<&str>,
        part: impl Fn(&Account) -> Result<BTreeMap<String, T>, AwsCallError>,
    ) -> Result<Vec<T>, AwsCallError> {
        let mut listed = Vec::new();
        let mut last: Option<String> = None;
        loop {
            self.enter(action, name).await?;
            let account = self.account.borrow();
            let mut rest = part(&account)?;
            if let Some(last) = &last {
                rest = rest.split_off(last);
                rest.remove(last);
            }
            let more = rest.len() > account.page;
            for (name, entry) in rest.into_iter().take(account.page) {
                listed.push(entry);
                last = Some(name);
            }
            if !more {
                return Ok(listed);
            }
        }
    }
}

impl Iam for IamFake {
    async fn list_users(&self, path_prefix: &str) -> Result<Vec<IamUser>, AwsCallError> {
        let users = |account: &Account| Ok(account.users_where(|user| user.path.starts_with(path_prefix)));
        self.pages(Action::LIST_USERS, None, users).await
    }

    async fn list_groups(&self) -> Result<Vec<IamGroup>, AwsCallError> {
        self.pages(Action::LIST_GROUPS, None, |account| Ok(account.groups_by_name()))
            .await
    }

    async fn group(&self, group_name: &str) -> Result<GroupWithMembers, AwsCallError> {
        let action = Action::GET_GROUP;
        let answered = RefCell::new(None);
        let members = |account: &Account| {
            let group = account
                .group_named(group_name)
                .ok_or(AwsCallError::NoSuchEntity { action })?;
            if answered.borrow_mut().get_or_insert_with(|| group.clone()).id != group.id {
                return Err(AwsCallError::unreadable(action, "the group changed between two pages"));
            }
            let is_member = |user: &IamUser| account.members.contains(&(group.id.clone(), user.id.clone()));
            Ok(account.users_where(is_member))
        };
        let members = self.pages(action, Some(group_name), members).await?;
        let group = answered.take().expect("a page");
        Ok(GroupWithMembers { group, members })
    }

    async fn user(&self, iam_user_name: &str) -> Result<IamUser, AwsCallError> {
        self.enter(Action::GET_USER, Some(iam_user_name)).await?;
        self.account.borrow().known(Action::GET_USER, iam_user_name).cloned()
    }

    async fn groups_for_user(&self, iam_user_name: &str) -> Result<Vec<IamGroup>, AwsCallError> {
        let action = Action::LIST_GROUPS_FOR_USER;
        self.enter(action, Some(iam_user_name)).await?;
        let account = self.account.borrow();
        let user = account.known(action, iam_user_name)?;
        Ok(account.groups_of(&user.id).cloned().collect())
    }

    async fn ssh_public_keys(&self, iam_user_name: &str) -> Result<Vec<IamKey>, AwsCallError> {
        let action = Action::LIST_SSH_PUBLIC_KEYS;
        self.enter(action, Some(iam_user_name)).await?;
        let account = self.account.borrow();
        let user = account.known(action, iam_user_name)?;
        let keys = account.keys.get(&user.id).into_iter().flatten();
        Ok(keys.map(|(key, _)| key.clone()).collect())
    }

    async fn ssh_public_key(&self, iam_user_name: &str, key_id: &str) -> Result<String, AwsCallError> {
        let action = Action::GET_SSH_PUBLIC_KEY;
        self.enter(action, Some(iam_user_name)).await?;
        let account = self.account.borrow();
        let user = account.known(action, iam_user_name)?;
        let mut keys = account.keys.get(&user.id).into_iter().flatten();
        let found = keys.find(|(key, _)| key.id == key_id).map(|(_, body)| body.clone());
        found.ok_or(AwsCallError::NoSuchEntity { action })
    }

    async fn role(&self, role_name: &str) -> Result<IamRole, AwsCallError> {
        self.enter(Action::GET_ROLE, Some(role_name)).await?;
        let account = self.account.borrow();
        account.roles.get(role_name).cloned().ok_or(AwsCallError::NoSuchEntity {
            action: Action::GET_ROLE,
        })
    }

    async fn detailed_users(&self) -> Result<Vec<IamUser>, AwsCallError> {
        let with_groups = |account: &Account, user: &IamUser| IamUser {
            groups: Some(account.groups_of(&user.id).map(|group| group.name.clone()).collect()),
            ..user.clone()
        };
        let users = |account: &Account| {
            let users = account.users.values();
            Ok(users
                .map(|user| (user.name.clone(), with_groups(account, user)))
                .collect())
        };
        self.pages(Action::GET_ACCOUNT_AUTHORIZATION_DETAILS, None, users).await
    }

    async fn detailed_groups(&self) -> Result<Vec<IamGroup>, AwsCallError> {
        let groups = |account: &Account| Ok(account.groups_by_name());
        self.pages(Action::GET_ACCOUNT_AUTHORIZATION_DETAILS, None, groups)
            .await
    }

    async fn token_issuer(&self) -> Result<Option<String>, AwsCallError> {
        self.enter(Action::GET_OUTBOUND_WEB_IDENTITY_FEDERATION_INFO, None)
            .await?;
        Ok(self.account.borrow().issuer.clone())
    }

    async fn issuer_keys(&self, issuer: &str) -> Result<Vec<(String, [u8; POINT])>, AwsCallError> {
        self.enter(FETCH, Some(issuer)).await?;
        let keys = self
            .account
            .borrow()
            .issuer_keys
            .get(issuer)
            .cloned()
            .unwrap_or_default();
        if keys.is_empty() {
            return Err(AwsCallError::unreadable(FETCH, "there are none"));
        }
        Ok(keys.iter().map(|kid| (kid.clone(), [4; POINT])).collect())
    }

    async fn caller_identity(&self) -> Result<CallerIdentity, AwsCallError> {
        self.enter(Action::GET_CALLER_IDENTITY, None).await?;
        Ok(CallerIdentity::from_arn(&self.account.borrow().caller_arn).expect("an ARN that the test wrote"))
    }

    async fn replaced(&self, _: Ask) -> Option<Replaced> {
        self.account.borrow().replaced.clone()
    }
}

impl Account {
    fn user_named(&self, name: &str) -> Option<&IamUser> {
        self.users.values().find(|user| user.name == name)
    }

    fn group_named(&self, name: &str) -> Option<&IamGroup> {
        self.groups.values().find(|group| group.name == name)
    }

    fn known(&self, action: Action, iam_user_name: &str) -> Result<&IamUser, AwsCallError> {
        let is_called = |user: &&IamUser| {
            user.name == iam_user_name || !self.goes_by_case && user.name.eq_ignore_ascii_case(iam_user_name)
        };
        self.users
            .values()
            .find(is_called)
            .ok_or(AwsCallError::NoSuchEntity { action })
    }

    fn membership(&self, user: &str, group: &str) -> (String, String) {
        let user = self.user_named(user).expect("a user that the test made");
        let group = self.group_named(group).expect("a group that the test made");
        (group.id.clone(), user.id.clone())
    }

    fn groups_of<'a>(&'a self, user_id: &'a str) -> impl Iterator<Item = &'a IamGroup> {
        let joined = move |group: &&IamGroup| self.members.contains(&(group.id.clone(), user_id.to_owned()));
        self.groups.values().filter(joined)
    }

    /// By name. Listings tell neither tags nor groups.
    fn users_where(&self, wanted: impl Fn(&IamUser) -> bool) -> BTreeMap<String, IamUser> {
        let as_listed = |user: &IamUser| IamUser {
            tags: None,
            groups: None,
            ..user.clone()
        };
        let users = self.users.values().filter(|user| wanted(user));
        users.map(|user| (user.name.clone(), as_listed(user))).collect()
    }

    fn groups_by_name(&self) -> BTreeMap<String, IamGroup> {
        let groups = self.groups.values();
        groups.map(|group| (group.name.clone(), group.clone())).collect()
    }
}
