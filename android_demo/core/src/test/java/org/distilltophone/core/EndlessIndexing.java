package org.distilltophone.core;

import java.io.File;

/** A process that indexes more and more photos until it is killed. */
final class EndlessIndexing {
    private EndlessIndexing() {}

    public static void main(String[] arguments) throws Exception {
        PhotoIndexTest.Photos photos = new PhotoIndexTest.Photos();
        try (PhotoIndex index = PhotoIndex.open(new File(arguments[0]), Samples.sha256("c"), TestModel.DIMENSION)) {
            for (int n = 1; n < 1000; n++) {
                photos.add(0, index.count() + 50);
                index.update(photos, TestModel.embedder(), null);
                System.out.print("x");
                System.out.flush();
            }
        }
    }
}
