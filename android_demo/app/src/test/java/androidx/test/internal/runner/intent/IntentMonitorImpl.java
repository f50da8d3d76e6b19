package androidx.test.internal.runner.intent;

/** See README.md in androidx/test. */
public final class IntentMonitorImpl implements androidx.test.runner.intent.IntentMonitor {
    public void signalIntent(android.content.Intent intent) {}
}
