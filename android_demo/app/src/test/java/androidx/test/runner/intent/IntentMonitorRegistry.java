package androidx.test.runner.intent;

/** See README.md in androidx/test. */
public final class IntentMonitorRegistry {
    public static void registerInstance(IntentMonitor monitor) {}
}
