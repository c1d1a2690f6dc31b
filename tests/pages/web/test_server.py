"""The dashboard that `streamlit run` starts stands behind every layer, and the login behind none that reads a body."""

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.web import auth, first_paint, headers, scripts, server, throttle, upload_limits


def test_the_dashboard_has_its_layers_in_order():
    import app

    assert get_script_run_ctx(suppress_warning=True) is None
    assert isinstance(app.app, st.App)
    assert app.app._user_lifespan is server.lifespan
    assert [layer.cls for layer in app.app._user_middleware] == [
        headers.SecurityHeaders,
        auth.AuthMiddleware,
        upload_limits.UploadLimits,
        scripts.CachedScripts,
        first_paint.FirstPaint,
        throttle.RerunThrottle,
    ]
