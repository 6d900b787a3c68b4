"""The section ``user_identity``: what becomes of who a peer says it is (PS3.7 D.3.3.7)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from scpd.config.kinds import FILE, TEXT, YES_OR_NO, duration, whole_number
from scpd.config.lists import OneOrMore
from scpd.config.section import Section

_HOUR = 3600.0
Wait = Annotated[float, duration(0.1, 60.0)]
Leeway = Annotated[float, duration(0.0, 600.0)]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
Names = Annotated[tuple[Annotated[str, TEXT], ...], OneOrMore()]


class PasswordsConfig(Section):
    """User name and passcode, from a file."""

    kind: Literal["passwords"] = Field(description="User name and passcode, from a file.")
    file: Annotated[Path, FILE] = Field(description="The file of user:hash lines, which scpd passwd writes.")


class UsernamesConfig(Section):
    """User names alone: known, not proven."""

    kind: Literal["usernames"] = Field(
        description="A user name alone: known, not proven; for peers whose certificate shows who they are."
    )
    users: Names = Field(description="The names that are taken.")
    roles: Names | None = Field(default=None, description="The roles that each of them has (default none).")


class LDAPConfig(Section):
    """User name and passcode, asked of a directory; needs the extra ldap."""

    kind: Literal["ldap"] = Field(description="User name and passcode, by binding to a directory as that user.")
    url: Annotated[str, TEXT] = Field(description="The directory: ldaps://host[:636] or ldap://host[:389].")
    user: Annotated[str, TEXT] = Field(
        description="Whom to bind as, with {user} for the name: uid={user},ou=people,dc=hospital,dc=example or "
        "{user}@hospital.example."
    )
    tls: Literal["required", "none"] = Field(
        default="required",
        description="Whether an ldap:// connection turns to TLS before the passcode goes over it (default required).",
    )
    ca: Annotated[Path, FILE] | None = Field(
        default=None, description="The file of the directory's CA (default: those that this machine trusts)."
    )
    roles: Annotated[str, TEXT] | None = Field(
        default="memberOf", description="The attribute of the user's entry that holds its roles (default memberOf)."
    )
    timeout: Wait = Field(default=5.0, description="How long the directory may take (default 5s).")


class JWTConfig(Section):
    """A JSON Web Token; needs the extra jwt."""

    kind: Literal["jwt"] = Field(description="A JSON Web Token.")
    issuer: Annotated[str, TEXT] = Field(description="The claim iss that a token must have.")
    audience: Annotated[str, TEXT] = Field(description="What its claim aud must be, or hold.")
    keys: Annotated[str, TEXT] = Field(
        description="The issuer's public keys, a JWKS: the path of a file, or an https address, which is asked when "
        "needed and anew for a key that is not known."
    )
    algorithms: Annotated[tuple[Algorithm, ...], OneOrMore()] = Field(
        default=("RS256", "ES256"), description="The signatures that are taken (default [RS256, ES256])."
    )
    user_claim: Annotated[str, TEXT] = Field(
        default="sub", description="The claim that holds the user's name (default sub)."
    )
    roles_claim: Annotated[str, TEXT] | None = Field(
        default="roles",
        description="The claim that holds the roles, with dots into nested ones, as realm_access.roles (default "
        "roles).",
    )
    leeway: Leeway = Field(default=30.0, description="How far the issuer's clock may be from this one (default 30s).")
    longest_life: Annotated[float, duration(1.0, 30 * 24 * _HOUR)] = Field(
        default=24 * _HOUR, description="The longest time a token may be good for (default 1d)."
    )
    refresh: Annotated[float, duration(1.0, 24 * _HOUR)] = Field(
        default=600.0, description="How long keys from an address are used before they are fetched anew (default 10m)."
    )
    timeout: Wait = Field(default=5.0, description="How long fetching keys may take (default 5s).")
    ca: Annotated[Path, FILE] | None = Field(
        default=None, description="The file of the CA of the keys' address (default: those that this machine trusts)."
    )


class SAMLConfig(Section):
    """A SAML assertion; needs the extra saml."""

    kind: Literal["saml"] = Field(description="A SAML 2.0 assertion.")
    issuer: Annotated[str, TEXT] = Field(description="The Issuer that an assertion must have.")
    certificate: Annotated[Path, FILE] = Field(
        description="The file of the certificates that it may be signed with; no other counts."
    )
    audience: Annotated[str, TEXT] = Field(description="The Audience that it must be for.")
    recipient: Annotated[str, TEXT] | None = Field(
        default=None, description="The Recipient that its subject confirmation must name (default: any)."
    )
    user_attribute: Annotated[str, TEXT] | None = Field(
        default=None, description="The attribute that holds the user's name (default: the NameID)."
    )
    roles_attribute: Annotated[str, TEXT] | None = Field(
        default=None, description="The attribute that holds the roles (default none)."
    )
    leeway: Leeway = Field(default=30.0, description="How far the issuer's clock may be from this one (default 30s).")
    longest_life: Annotated[float, duration(1.0, 30 * 24 * _HOUR)] = Field(
        default=24 * _HOUR, description="The longest time an assertion may be good for (default 1d)."
    )
    once: Annotated[bool, YES_OR_NO] = Field(
        default=True,
        description="Whether an assertion is good for one association alone (default true): false lets a device use "
        "the same one for each until it ends.",
    )


class KerberosConfig(Section):
    """A Kerberos service ticket; needs the extra kerberos."""

    kind: Literal["kerberos"] = Field(description="A Kerberos service ticket, by GSS-API.")
    keytab: Annotated[Path, FILE] = Field(description="The file of the service's keys.")
    service: Annotated[str, TEXT] = Field(description="The service principal, as dicom/pacs.example.")
    realms: Names | None = Field(
        default=None,
        description="The realms whose users go by their name alone (default none: users are called alice@REALM).",
    )


ProviderConfig = PasswordsConfig | UsernamesConfig | LDAPConfig | JWTConfig | SAMLConfig | KerberosConfig


class LockoutConfig(Section):
    """Who guesses has to wait."""

    failures: Annotated[int, whole_number(0, 1000)] = Field(
        default=5,
        description="After how many failures a user is locked out from that address (default 5; 0 never).",
    )
    time: Annotated[float, duration(1.0, 24 * _HOUR)] = Field(
        default=300.0,
        description="For how long (default 5m), twice as long after each further one; also the time within which "
        "failures count together.",
    )


class UserIdentityConfig(Section):
    """Per server."""

    policy: Literal["ignore", "accept", "require"] = Field(
        default="accept",
        description="What becomes of a user identity (default accept): ignore does not look at it, accept verifies "
        "what is sent and lets others in, require takes nobody who is not verified.",
    )
    respond: Annotated[bool, YES_OR_NO] = Field(
        default=True, description="Whether the positive response is sent when it is asked for (default true)."
    )
    unsupported: Literal["ignore", "reject"] = Field(
        default="ignore",
        description="What becomes of a form that no provider verifies, where the policy is accept (default ignore): it "
        "counts as not sent, and is not answered, or it is rejected.",
    )
    without_tls: Literal["reject", "allow"] = Field(
        default="reject",
        description="What becomes of a passcode, assertion or token that came without TLS from another machine "
        "(default reject): anybody on the way could have read it.",
    )
    lockout: LockoutConfig = Field(default_factory=LockoutConfig, description="When somebody who guesses has to wait.")
    providers: tuple[Annotated[ProviderConfig, Field(discriminator="kind")], ...] = Field(
        default=(), description="Who verifies (default nobody): of those for a form, one after the other."
    )
