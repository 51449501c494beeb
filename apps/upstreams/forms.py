"""The admin's form of an upstream: a key can be entered and forgotten, never read."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django import forms

from apps.upstreams.models import Upstream
from apps.upstreams.validators import validate_api_key

if TYPE_CHECKING:
    _UpstreamForm = forms.ModelForm[Upstream]
else:
    _UpstreamForm = forms.ModelForm


class UpstreamForm(_UpstreamForm):
    """The key's field is not named `api_key`: the admin would show the row's attribute to whoever may only look."""

    new_api_key = forms.CharField(
        label="API key",
        required=False,
        max_length=4_000,
        validators=[validate_api_key],
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text="Sent as <code>Authorization: Bearer …</code>. Stored encrypted and never shown again. Leave it "
        "empty to keep the one that is stored.",
    )
    forget_api_key = forms.BooleanField(
        label="Forget the stored API key", required=False, help_text="The upstream is then asked without a key."
    )

    class Meta:
        model = Upstream
        fields = (
            "name",
            "base_url",
            "model_patterns",
            "max_in_flight",
            "connect_timeout",
            "read_timeout",
            "enabled",
        )

    def clean(self) -> dict[str, Any]:
        super().clean()
        new_key, forget = self.cleaned_data.get("new_api_key"), self.cleaned_data.get("forget_api_key")
        if new_key and forget:
            self.add_error("forget_api_key", "Either enter a new key or forget the stored one.")
        elif self._would_hand_the_key_over() and not (new_key or forget):
            self.add_error(
                "new_api_key", "The stored key was given for another server: enter the key again, or forget it."
            )
        return self.cleaned_data

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data["forget_api_key"]:
            self.instance.api_key = ""
        if key := self.cleaned_data["new_api_key"]:
            self.instance.api_key = key
        return super().save(commit)

    def _would_hand_the_key_over(self) -> bool:
        """A stored key would go to another scheme, host or port: by mistake, or so that somebody can read it there."""
        if not self.instance.api_key_encrypted or "base_url" not in self.cleaned_data:
            return False
        before, after = urlsplit(str(self.initial["base_url"])), urlsplit(str(self.cleaned_data["base_url"]))
        return (before.scheme, before.netloc) != (after.scheme, after.netloc)
