package androidx.test.internal.runner.lifecycle;

/** See README.md in androidx/test. */
public final class ActivityLifecycleMonitorImpl implements androidx.test.runner.lifecycle.ActivityLifecycleMonitor {
    public void signalLifecycleChange(androidx.test.runner.lifecycle.Stage stage, android.app.Activity activity) {}
}
