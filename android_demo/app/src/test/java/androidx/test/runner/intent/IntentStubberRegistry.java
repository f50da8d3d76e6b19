package androidx.test.runner.intent;

/** See README.md in androidx/test. */
public final class IntentStubberRegistry {
    public static boolean isLoaded() {
        return false;
    }

    public static IntentStubber getInstance() {
        throw new IllegalStateException("nothing is stubbed");
    }
}
